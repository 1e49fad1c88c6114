"""Server-side apply of one object; the package describes its rules."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from trimtab.errors import Unavailable
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.kubernetes import healing, objects, problems
from trimtab_clusterres.clusters.kubernetes.connection import APPLY, Answer, Connection
from trimtab_clusterres.clusters.kubernetes.discovery import Discovery, Kind
from trimtab_clusterres.clusters.kubernetes.objects import Object
from trimtab_clusterres.clusters.kubernetes.problems import Broken, Refused
from trimtab_clusterres.clusters.port import FIELD_MANAGER, Outcome, Result

_ATTEMPTS = 4
"""Requests for one object, each after it was read again."""
_FRESH_SECONDS = 2.0
"""How old the read may be that found no object to be replaced."""


@dataclass(frozen=True)
class Item:
    """An object to be applied, and what the cluster had when the call read it."""

    key: ObjectKey
    kind: Kind
    namespace: str
    body: Object
    content: str
    """The content digest of the body."""
    live: Object | None = None
    read_at: float = 0.0
    recorded: str = ""
    """The content digest that the inventory records as applied to this very object."""

    @property
    def path(self) -> str:
        return self.kind.path(self.namespace, self.key.name)

    @property
    def is_forced(self) -> bool:
        return objects.annotation(self.body, objects.FORCE) == "true"


@dataclass(frozen=True)
class Applied:
    """The result for an object, and the object itself."""

    result: Result
    live: Object | None
    """The object afterwards, as far as it is known."""
    was_created: bool = False

    @property
    def is_current(self) -> bool:
        """Whether the object has all fields of its manifest."""
        return self.result.outcome in ("applied", "unchanged")


@dataclass(frozen=True)
class _Known:
    """The last apply of an object by this process."""

    uid: str
    content: str
    digest: str
    owned: str
    last_apply: tuple[str, str]
    body: bytes


class Applier:
    """Applies objects, and knows what it applied, so that nothing is sent where all is equal."""

    def __init__(self, connection: Connection, discovery: Discovery) -> None:
        self._connection = connection
        self._discovery = discovery
        self._known: dict[str, _Known] = {}

    async def reread(self, item: Item) -> Item:
        live = await self._connection.get(item.path)
        is_same = objects.uid(live or {}) == objects.uid(item.live or {})
        recorded = item.recorded if is_same else ""
        return replace(item, live=live, read_at=time.monotonic(), recorded=recorded)

    async def apply(self, item: Item, *, repair: bool) -> Applied:
        """Create or update an object. Raises `Unavailable` where it changes too often."""
        began = time.monotonic()
        try:
            applied = await self._applied(item, repair=repair)
        except (Refused, Broken) as refused:
            if isinstance(refused, Refused) and refused.status == 404:
                self._discovery.doubt(item.kind)
            applied = Applied(Result(item.key, "failed", message(item, refused)), item.live)
        return _timed(applied, began)

    async def update(self, item: Item, version: str) -> Applied | None:
        """Change an object that this process has applied, and that has this version since.

        ``None`` where more has to be known for that, as `apply` finds out. Raises `Unavailable`
        where a process like this one has applied the object since.
        """
        known = self._known.get(item.path)
        if known is None or known.digest == objects.digest(item.body):
            return None
        began = time.monotonic()
        live: Object | None = {"metadata": {"uid": known.uid, "resourceVersion": version}}
        for _ in range(2):  # others may have changed what is theirs, such as the status
            item = replace(item, live=live)
            try:
                answer = await self._patch(item, force=item.is_forced)
            except Broken:
                return None
            except Refused as refused:
                if refused.conflicts or refused.status not in (404, 409):
                    return None
            else:
                return _timed(await self._succeeded(item, answer), began)
            if (live := await self._as_applied(item, known)) is None:
                return None
        return None

    async def _as_applied(self, item: Item, known: _Known) -> Object | None:
        """Return the live object, if it has what this process has applied.

        Raises `Unavailable` where a process like this one has applied it since.
        """
        live = await self._connection.get(item.path)
        if live is None or objects.uid(live) != known.uid:
            return None
        if objects.owned_digest(live) == known.owned:
            return live
        time, fields = objects.last_apply(live)
        # With the same fields in the same second, it has set other values.
        if time and (time != known.last_apply[0] or fields == known.last_apply[1]):
            self.forget(item.path)
            raise Unavailable(f"{item.key} was changed at the same time")
        return None

    async def dry_run(self, item: Item) -> Object:
        """Return the object as a forced apply would leave it."""
        return (await self._patch(replace(item, live=None), force=True, dry_run=True)).body

    def forget(self, path: str) -> None:
        self._known.pop(path, None)

    async def _applied(self, item: Item, *, repair: bool) -> Applied:
        first, force = item.live, item.is_forced
        for _ in range(_ATTEMPTS):
            if item.live is None and time.monotonic() > item.read_at + _FRESH_SECONDS:
                item = await self._reread_unless_replaced(item, first)
            if item.live is not None and objects.is_terminating(item.live):
                return Applied(Result(item.key, "failed", terminating(item.live)), item.live)
            if self._is_unchanged(item):
                return Applied(Result(item.key, "unchanged"), item.live)
            try:
                return await self._succeeded(item, await self._patch(item, force=force))
            except Refused as refused:
                if refused.conflicts:
                    if force or not (repair and self._was_ours(item, refused)):
                        return Applied(Result(item.key, "conflicted", str(refused)), item.live)
                    force = True
                elif refused.duplicates and repair:
                    item = await self._healed(item, refused)
                elif refused.status == 409 or (refused.status == 404 and item.live is not None):
                    item = await self._reread_unless_replaced(item, first)
                elif refused.is_of_terminating_namespace:
                    raise Unavailable(str(refused)) from refused
                else:
                    raise
        raise Unavailable(f"{item.key} is changed by others all the time")

    async def _healed(self, item: Item, refused: Refused) -> Item:
        """Return the object without the list items in the way, if ours were there before."""
        if item.live is None or not self._was_applied(item):
            raise refused
        live = await healing.replace_lists(
            self._connection, item.path, item.live, item.body, refused
        )
        if live is None:
            raise refused
        return replace(item, live=live)

    def _is_unchanged(self, item: Item) -> bool:
        known = self._of_live(item)
        return (
            known is not None
            and known.digest == objects.digest(item.body)
            and known.owned == objects.owned_digest(item.live or {})
        )

    def _was_ours(self, item: Item, refused: Refused) -> bool:
        """Whether the object had all the fields in conflict from an apply of ours."""
        if self._was_applied(item):
            return True
        known = self._of_live(item)
        body = json.loads(known.body) if known else {}
        return all(objects.has_field(body, cause.field) for cause in refused.conflicts)

    def _was_applied(self, item: Item) -> bool:
        """Whether just this rendering was applied to the object."""
        known = self._of_live(item)
        return item.content in (item.recorded, known.content if known else None)

    def _of_live(self, item: Item) -> _Known | None:
        """Return what is known of the live object; another one may have had the same name."""
        known = self._known.get(item.path)
        is_same = known and item.live is not None and known.uid == objects.uid(item.live)
        return known if is_same else None

    async def _reread_unless_replaced(self, item: Item, first: Object | None) -> Item:
        """Read an object again. Raises `Unavailable` where a process like this one has applied it.

        What this call would apply is then older than what is there.
        """
        item = await self.reread(item)
        before = objects.owned_digest(first) if first else objects.owned_digest({})
        if item.live is not None and objects.owned_digest(item.live) != before:
            raise Unavailable(f"{item.key} was changed at the same time")
        return item

    async def _patch(self, item: Item, *, force: bool, dry_run: bool = False) -> Answer:
        query = [("fieldManager", FIELD_MANAGER), ("force", "true" if force else "false")]
        if dry_run:
            query.append(("dryRun", "All"))
        body = item.body
        if item.live is not None:
            body = objects.with_metadata(body, resourceVersion=objects.version(item.live))
        return await self._connection.write(
            "PATCH", item.path, query=query, body=body, content_type=APPLY
        )

    async def _succeeded(self, item: Item, answer: Answer) -> Applied:
        live = await healing.give_up_lists(self._connection, item.path, answer.body)
        same = item.live is not None and objects.version(item.live) == objects.version(live)
        outcome: Outcome = "unchanged" if same else "applied"
        self._known[item.path] = _Known(
            objects.uid(live),
            item.content,
            objects.digest(item.body),
            objects.owned_digest(live),
            objects.last_apply(live),
            json.dumps(item.body, separators=(",", ":")).encode(),
        )
        return Applied(Result(item.key, outcome), live, was_created=answer.status == 201)


def _timed(applied: Applied, began: float) -> Applied:
    seconds = time.monotonic() - began
    return replace(applied, result=replace(applied.result, seconds=seconds))


def message(item: Item, refused: Refused | Broken) -> str:
    """Return the reason of a refusal, without values where the object is a Secret."""
    text = str(refused)
    return problems.without_values(text) if item.kind.kind == "Secret" else text


def terminating(live: Mapping[str, JsonValue]) -> str:
    finalizers = objects.metadata(live).get("finalizers")
    names = ", ".join(map(str, finalizers)) if isinstance(finalizers, list) else "none"
    since = objects.metadata(live)["deletionTimestamp"]
    return f"is being deleted since {since}; finalizers: {names}"
