"""Follows the directories of templates: one set for all namespaces of the clusters that use it."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from trimtab.errors import Rejected, Unavailable
from trimtab.runtime import tasks
from trimtab.runtime.threads import Threads
from trimtab.templates.files import Look, TemplateSet, look, read_templates, refuse_shrunken
from trimtab.templates.values import ConfiguredValues

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0


class _Found(NamedTuple):
    templates: TemplateSet | None
    values: ConfiguredValues


class TemplateWatch:
    """The templates of one or several directories. Run `follow` for as long as they are used.

    Templates are read when a file has changed, and not for each namespace.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        read_values: Callable[[], ConfiguredValues] = ConfiguredValues,
        *,
        deadline_seconds: float,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """After ``deadline_seconds``, directories that do not answer are reported."""
        self.values = ConfiguredValues()
        """The configured values, whose files change as templates do."""
        self._directories = tuple(directories)
        self._read_values = read_values
        self._deadline_seconds = deadline_seconds
        self._poll_seconds = poll_seconds
        # One thread: where a file system hangs, more would hang as well.
        self._threads = Threads(1, "templates")
        self._reading: asyncio.Future[_Found] | None = None
        self._began = 0.0
        self._look: Look = ()
        self._set: TemplateSet | None = None
        self._error = ""
        self._reason = ""  # why no set could be read yet
        self._known = asyncio.Event()

    @property
    def blocked(self) -> str:
        """Why nothing is known about the directories now; empty where they answer."""
        seconds = time.monotonic() - self._began
        if self._reading is None or seconds < self._deadline_seconds:
            return ""
        return f"{self} do not answer for {seconds:.0f} s"

    @property
    def error(self) -> str:
        """Why the directories hold no usable set; empty where they do."""
        return self._error

    def summary(self) -> dict[str, object]:
        """Return the state of the templates, for ``/readyz``."""
        found = {"digest": self._set.digest, "objects": self._set.documents} if self._set else {}
        error = {"error": self._error} if self._error else {}
        return {"directories": list(map(str, self._directories)), **found, **error}

    async def current(self) -> TemplateSet:
        """Return the set as it was read last.

        Raises `Rejected` where the directories hold no usable one, and `Unavailable` where none
        could be read yet.
        """
        await self._known.wait()
        if self._error:
            raise Rejected(self._error)
        if self._set is None:
            raise Unavailable(self._reason)
        return self._set

    async def follow(self, changed: Callable[[], None]) -> None:
        """Keep the set up to date until cancelled; call ``changed`` when it differs."""
        try:
            while True:
                before = (self._set and self._set.digest, self.values, self._error)
                await self._check()
                now = (self._set and self._set.digest, self.values, self._error)
                if now != before and self._known.is_set():
                    changed()
                self._known.set()
                await asyncio.sleep(self._poll_seconds)
        finally:
            self._threads.close()

    async def _check(self) -> None:
        if self._reading is None:
            self._began = time.monotonic()
            self._reading = self._threads.submit(self._read)
        done, _ = await asyncio.wait([self._reading], timeout=self._deadline_seconds)
        if not done:
            self._reason = self.blocked
            log.warning("templates.blocked", extra={"error": self._reason})
            return
        reading, self._reading = self._reading, None
        try:
            found = reading.result()
        except Unavailable as error:
            # The files change all the time. The last set stays in use.
            self._reason = str(error)
            log.warning("templates.unsettled", extra={"error": self._reason})
        except Exception as error:  # noqa: BLE001  # a defect must not end the service
            if str(error) != self._error:
                tasks.report_failure("templates.unusable", error)
            self._error = str(error)
        else:
            self._take(found)

    def _read(self) -> _Found:
        """Return the set, ``None`` where no file has changed since the last one. Blocks."""
        values = self._read_values()
        seen = look(self._directories)
        if seen == self._look:
            return _Found(None, values)
        self._look = ()
        found = read_templates(self._directories)
        if self._set is not None:
            refuse_shrunken(found, self._set.documents)
        log.info("templates.read", extra={"digest": found.digest, "documents": found.documents})
        self._look = seen
        return _Found(found, values)

    def _take(self, found: _Found) -> None:
        self._set = found.templates or self._set
        self.values = found.values
        self._error = ""

    def __str__(self) -> str:
        return f"templates {', '.join(map(str, self._directories))}"
