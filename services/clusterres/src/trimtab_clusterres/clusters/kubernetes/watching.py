"""Watches the kinds of all objects that templates render, with one list and one stream for each.

Only metadata is read. A stream goes on where the one before ended; where that version has expired,
or the API server was away, the objects are listed again, and compared with what is known, so that
nothing in between is missed.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator

import aiohttp
from pydantic import JsonValue

from trimtab.errors import Unavailable
from trimtab.runtime import tasks
from trimtab.runtime.retrying import backoff_seconds
from trimtab_clusterres.clusters.kubernetes import objects
from trimtab_clusterres.clusters.kubernetes.connection import Connection
from trimtab_clusterres.clusters.kubernetes.discovery import Kind
from trimtab_clusterres.clusters.kubernetes.objects import Object
from trimtab_clusterres.clusters.kubernetes.observed import Observed, State, is_later, state
from trimtab_clusterres.clusters.kubernetes.problems import Refused, refusal

log = logging.getLogger(__name__)

_PAGE = 500
_STREAM_SECONDS = 300.0
"""How long a stream lasts at most; up to a fifth less, so that they do not all end together."""
_MARGIN_SECONDS = 10.0
"""A stream that is silent for so much longer is dead."""
_STEADY_SECONDS = 5.0
"""After a stream that lasted so long, the back-off starts again."""
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 5.0
_REFUSED_DELAY_SECONDS = 60.0
"""How often a kind that may not be watched is tried again."""
_TRIES = 5
"""After so many short streams in a row the objects are listed again, whatever the reason."""
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_LIST_OF_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Watches:
    """The watches of one cluster."""

    def __init__(self, connection: Connection, observed: Observed) -> None:
        self._connection = connection
        self._observed = observed
        self._watches: dict[Kind, _Watch] = {}

    @property
    def refusals(self) -> list[str]:
        """Why kinds are not watched, one sentence each."""
        return [each.refusal for each in self._watches.values() if each.refusal]

    async def changes(self) -> AsyncIterator[str]:
        """Yield each namespace that has changed."""
        news = asyncio.Event()
        self._observed.on_news = news.set
        running: dict[Kind, asyncio.Task[None]] = {}
        try:
            while True:
                news.clear()
                for kind in self._observed.kinds:
                    if kind not in running or running[kind].done():
                        running[kind] = asyncio.create_task(self._watch(kind))
                while (namespace := self._observed.take_changed()) is not None:
                    yield namespace
                await news.wait()
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def _watch(self, kind: Kind) -> None:
        watch = self._watches[kind] = _Watch(self._connection, self._observed, kind)
        try:
            await tasks.keep_running(watch.run, "watch.failed")
        finally:
            del self._watches[kind]


class _Watch:
    """The watch of one kind."""

    def __init__(self, connection: Connection, observed: Observed, kind: Kind) -> None:
        self.refusal = ""
        self._connection = connection
        self._observed = observed
        self._kind = kind
        self._version = ""
        """The version to go on from; empty where the objects have to be listed."""

    async def run(self) -> None:
        """Watch until no object of the kind is known any longer."""
        loop = asyncio.get_running_loop()
        tries = 0
        while self._observed.paths(self._kind):
            began = loop.time()
            pause = await self._try()
            tries = 1 if loop.time() - began > _STEADY_SECONDS else tries + 1
            if tries % _TRIES == 0:
                self._version = ""
                fields = {"kind": self._kind.kind, "tries": tries}
                log.warning("cluster.watch_interrupted", extra=fields)
            delay = backoff_seconds(
                tries, first=_FIRST_DELAY_SECONDS, longest=_LONGEST_DELAY_SECONDS
            )
            await asyncio.sleep(max(pause, delay))

    async def _try(self) -> float:
        """Follow one stream to its end, and return the least seconds before the next one."""
        try:
            if not self._version:
                await self._list()
            await self._stream()
        except Refused as refused:
            self._version = ""
            if refused.status not in (403, 404, 405):
                return 0.0
            if not self.refusal:
                self.refusal = f"{self._kind.kind} is not watched: {refused}"
                log.warning("cluster.not_watched", extra={"reason": self.refusal})
            return _REFUSED_DELAY_SECONDS
        except Unavailable as error:
            return min(error.delay_seconds or 0.0, _REFUSED_DELAY_SECONDS)
        return 0.0

    async def _list(self) -> None:
        """Compare all objects that are known now with the cluster's."""
        known = self._observed.paths(self._kind)
        newest = self._observed.newest(self._kind)
        found: dict[str, State] = {}
        version = more = ""
        while True:
            query = [("limit", str(_PAGE)), *([("continue", more)] if more else [])]
            answer = await self._connection.request(
                "GET", self._kind.collection(), query=query, accept=_LIST_OF_METADATA
            )
            items = answer.body.get("items")
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict) and (path := self._path(item)) in known:
                    found[path] = state(item)
            version = version or objects.version(answer.body)
            more = str(objects.metadata(answer.body).get("continue") or "")
            if not more:
                break
        if is_later(newest, version):
            # The cluster's store was replaced, by an empty one or a backup.
            self._observed.start_again(self._kind)
        for path in known:
            self._observed.event(self._kind, path, found.get(path, State(version)))
        self._version = version

    async def _stream(self) -> None:
        seconds = _STREAM_SECONDS * random.uniform(0.8, 1.0)
        # Where no stream begins, the API server may come back with another store.
        version, self._version = self._version, ""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, int(seconds))),
        }
        async with self._connection.stream(
            self._kind.collection(),
            query=query.items(),
            accept=_METADATA,
            silence_seconds=seconds + _MARGIN_SECONDS,
        ) as content:
            self.refusal = ""
            self._version = version
            async for event in _events(content):
                self._take(event)

    def _take(self, event: Object) -> None:
        """Compare one event. Raises `Refused` and `Unavailable` where it ends the stream."""
        body = event.get("object")
        body = body if isinstance(body, dict) else {}
        if event.get("type") == "ERROR":
            code = body.get("code")
            raise refusal("the watch", code if isinstance(code, int) else 500, body)
        self._version = objects.version(body) or self._version
        if event.get("type") == "BOOKMARK" or not self._observed.knows(
            self._kind, path := self._path(body)
        ):
            return
        now = State(self._version) if event.get("type") == "DELETED" else state(body)
        self._observed.event(self._kind, path, now)

    def _path(self, body: Object) -> str:
        metadata = objects.metadata(body)
        return self._kind.path(str(metadata.get("namespace", "")), str(metadata.get("name", "")))


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, JsonValue]]:
    """Yield the events of a stream, one a line, of any length."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in filter(None, lines):
            try:
                event = json.loads(line)
            except ValueError as error:
                raise Unavailable("an event of the watch is no JSON") from error
            if isinstance(event, dict):
                yield event
