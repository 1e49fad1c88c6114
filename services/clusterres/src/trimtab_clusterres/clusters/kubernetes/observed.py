"""The objects of one cluster as the calls and the watches have seen them last.

Whether an event is a change by something else follows from its metadata alone: a field that
another manager takes or removes leaves this service's entry of ``managedFields``, and a write by
another process under the same field manager has another time there.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from trimtab_clusterres.clusters.kubernetes import objects
from trimtab_clusterres.clusters.kubernetes.discovery import Kind
from trimtab_clusterres.clusters.kubernetes.objects import INVENTORY_MANAGER, Object
from trimtab_clusterres.clusters.port import FIELD_MANAGER

_SAME_TIME_SECONDS = 3.0
"""Times in ``managedFields`` have seconds. For so long after a call, an event that nothing else
explains may be a write under the same manager within the same second."""


@dataclass(frozen=True, slots=True)
class State:
    """The metadata of an object at a version; without a uid, the object does not exist."""

    version: str
    uid: str = ""
    own: str = ""
    """Digest of what this service has set; it changes when someone else takes a part of it."""
    rest: str = ""
    """Digest of what others have set."""
    is_terminating: bool = False
    at: float = 0.0
    """When a call found it first, or wrote it last."""
    is_as_applied: bool = False
    """Whether a call left it as its manifest describes it, and nothing else has changed that."""


def state(body: Object, at: float = 0.0) -> State:
    """Return the state of an object; its metadata suffices."""
    metadata = dict(objects.metadata(body))
    entries = metadata.pop("managedFields", None)
    entries = entries if isinstance(entries, list) else []
    for name in ("resourceVersion", "generation"):
        metadata.pop(name, None)
    own = [each for each in entries if _is_own(each)]
    return State(
        version=objects.version(body),
        uid=objects.uid(body),
        own=objects.digest(own),
        rest=objects.digest([metadata, *(each for each in entries if not _is_own(each))]),
        is_terminating=objects.is_terminating(body),
        at=at,
    )


def is_change(seen: State, now: State, time: float) -> bool:
    """Whether something else changed what this service has set of an object."""
    if (seen.uid, seen.own, seen.is_terminating) != (now.uid, now.own, now.is_terminating):
        return True
    return bool(seen.uid) and seen.rest == now.rest and time < seen.at + _SAME_TIME_SECONDS


def is_later(version: str, than: str) -> bool:
    """Whether a resourceVersion is later; they are numbers on each API server with etcd."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


class _Object(NamedTuple):
    namespace: str
    """The namespace whose templates render it, also where it is cluster-scoped."""
    state: State


class Observed:
    """The objects of all namespaces, by kind and path, and the namespaces that have changed.

    While a call works on a namespace its events are kept back, because an event often arrives
    before the response to the write that caused it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.on_news: Callable[[], None] = lambda: None
        """Called after each new kind and each change."""
        self._clock = clock
        self._objects: dict[Kind, dict[str, _Object]] = {}
        self._working: Counter[str] = Counter()
        self._kept_back: dict[str, dict[tuple[Kind, str], State]] = {}
        self._changed: dict[str, None] = {}

    @property
    def kinds(self) -> Collection[Kind]:
        return self._objects.keys()

    def paths(self, kind: Kind) -> frozenset[str]:
        """Return the paths of the known objects of a kind."""
        return frozenset(self._objects.get(kind, ()))

    def knows(self, kind: Kind, path: str) -> bool:
        return path in self._objects.get(kind, ())

    def newest(self, kind: Kind) -> str:
        """Return the latest version of the known objects of a kind."""
        newest = "0"
        for known in self._objects.get(kind, {}).values():
            if is_later(known.state.version, newest):
                newest = known.state.version
        return newest

    def start_again(self, kind: Kind) -> None:
        """Count any version of the kind's objects as later, because versions have started again."""
        known = self._objects.get(kind, {})
        for path, (namespace, seen) in known.items():
            known[path] = _Object(namespace, replace(seen, version="0", is_as_applied=False))

    def version(self, kind: Kind, path: str) -> str:
        """Return the newest version of an object that is as applied; empty where it may not be."""
        known = self._objects.get(kind, {}).get(path)
        return known.state.version if known and known.state.is_as_applied else ""

    def confirm(self, kind: Kind, path: str) -> None:
        """Take over that the object that a call has left is as its manifest describes it."""
        if (known := self._objects.get(kind, {}).get(path)) is not None:
            applied = replace(known.state, is_as_applied=True)
            self._objects[kind][path] = known._replace(state=applied)

    def saw(self, namespace: str, kind: Kind, path: str, live: Object) -> None:
        """Take over what a call found, or left, of an object that templates render."""
        is_new_kind = kind not in self._objects
        known = self._objects.setdefault(kind, {})
        now = state(live, self._clock())
        before = known.get(path)
        if before and (before.state.uid, before.state.own) == (now.uid, now.own):
            now = replace(now, at=before.state.at)  # the call has written nothing
        known[path] = _Object(namespace, now)
        if is_new_kind:
            self.on_news()

    def forget(self, kind: Kind, path: str) -> None:
        """Report no change of an object any longer."""
        known = self._objects.get(kind, {})
        known.pop(path, None)
        if not known:
            self._objects.pop(kind, None)

    @contextmanager
    def working_on(self, namespace: str) -> Iterator[None]:
        """Keep the events of a namespace back, and compare them afterwards."""
        self._working[namespace] += 1
        try:
            yield
        finally:
            self._working[namespace] -= 1
            if not self._working[namespace]:
                del self._working[namespace]
                for (kind, path), late in self._kept_back.pop(namespace, {}).items():
                    self.event(kind, path, late)

    def event(self, kind: Kind, path: str, now: State) -> None:
        """Compare the state that a watch or a list has with what was seen last."""
        if (known := self._objects.get(kind, {}).get(path)) is None:
            return
        namespace, seen = known
        if namespace in self._working:
            self._kept_back.setdefault(namespace, {})[kind, path] = now
            return
        if not is_later(now.version, seen.version):
            return
        is_changed = is_change(seen, now, self._clock())
        is_as_applied = seen.is_as_applied and not is_changed
        now = replace(now, at=seen.at, is_as_applied=is_as_applied)
        self._objects[kind][path] = _Object(namespace, now)
        if is_changed:
            self._changed[namespace] = None
            self.on_news()

    def take_changed(self) -> str | None:
        """Return the next namespace that has changed, each once."""
        if not self._changed:
            return None
        namespace = next(iter(self._changed))
        del self._changed[namespace]
        return namespace


def _is_own(entry: object) -> bool:
    managers = (FIELD_MANAGER, INVENTORY_MANAGER)
    return isinstance(entry, dict) and entry.get("manager") in managers
