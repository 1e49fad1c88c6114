"""Kinds, and the records of each: what is stored, what applies, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.api.effective import EffectiveBody, ExplainBody
from trimtab.api.records import KindBody, RecordBody, RollbackBody
from trimtab.api.settings import ChangesBody, HistoryBody
from trimtab.client.requests import Noun, at, dry, given, parts, write
from trimtab.errors import NotFound
from trimtab.levels import Scope


class Kinds(Noun):
    async def list(self) -> Sequence[KindBody]:
        return await self._calls.many(KindBody, "/kinds")


class Records(Noun):
    """What is stored for a kind at a scope.

    Writes carry the version that the caller has seen, ``None`` for "there is no record"; another
    one stored raises `Stale`. ``force`` writes over whatever is there. The ``dry`` ones change
    nothing and say what would change, for whom.
    """

    async def list(self, kind: str | None = None, **where: str) -> Sequence[RecordBody]:
        """Those of a kind, and of a ``level`` or of parts of a scope."""
        return await self._calls.many(RecordBody, "/records", given(kind=kind, **where))

    async def get(self, kind: str, scope: Scope) -> RecordBody | None:
        """The record of exactly this scope; ``None`` where there is none."""
        try:
            return await self._calls.one(RecordBody, "GET", _record(kind), params=parts(scope))
        except NotFound as error:
            if error.object_type != "record":
                raise
            return None

    async def effective(self, kind: str, target: Scope) -> EffectiveBody:
        path = at("effective", kind)
        return await self._calls.one(EffectiveBody, "GET", path, params=parts(target))

    async def explain(self, kind: str, target: Scope) -> ExplainBody:
        """Where each part of the effective value comes from, who said it, when and why."""
        path = at("explain", kind)
        return await self._calls.one(ExplainBody, "GET", path, params=parts(target))

    async def history(
        self, kind: str, scope: Scope, *, since: int | None = None, limit: int | None = None
    ) -> Sequence[HistoryBody]:
        """Changes of exactly this record, the newest first."""
        params = parts(scope) | given(since=since, limit=limit)
        return await self._calls.many(HistoryBody, f"{_record(kind)}/history", params, limit)

    async def put(
        self,
        kind: str,
        scope: Scope,
        document: Mapping[str, Any],
        *,
        version: int | None = None,
        force: bool = False,
        reason: str = "",
    ) -> RecordBody:
        """Replace the record."""
        request = write(scope, version, force, reason)
        return await self._calls.one(RecordBody, "PUT", _record(kind), json=document, **request)

    async def dry_put(
        self,
        kind: str,
        scope: Scope,
        document: Mapping[str, Any],
        *,
        version: int | None = None,
        force: bool = False,
    ) -> ChangesBody:
        request = dry(write(scope, version, force, ""))
        return await self._calls.one(ChangesBody, "PUT", _record(kind), json=document, **request)

    async def patch(
        self,
        kind: str,
        scope: Scope,
        changes: Mapping[str, Any],
        *,
        version: int | None = None,
        force: bool = False,
        reason: str = "",
    ) -> RecordBody:
        """Change fields by JSON merge patch: ``None`` removes one, so that it inherits again."""
        request = write(scope, version, force, reason)
        return await self._calls.one(RecordBody, "PATCH", _record(kind), json=changes, **request)

    async def dry_patch(
        self,
        kind: str,
        scope: Scope,
        changes: Mapping[str, Any],
        *,
        version: int | None = None,
        force: bool = False,
    ) -> ChangesBody:
        request = dry(write(scope, version, force, ""))
        return await self._calls.one(ChangesBody, "PATCH", _record(kind), json=changes, **request)

    async def delete(
        self,
        kind: str,
        scope: Scope,
        *,
        version: int | None = None,
        force: bool = False,
        reason: str = "",
    ) -> None:
        """Remove exactly this record. There being none is fine."""
        request = write(scope, version, force, reason)
        await self._calls.send("DELETE", _record(kind), **request)

    async def dry_delete(
        self, kind: str, scope: Scope, *, version: int | None = None, force: bool = False
    ) -> ChangesBody:
        request = dry(write(scope, version, force, ""))
        return await self._calls.one(ChangesBody, "DELETE", _record(kind), **request)

    async def rollback(
        self,
        kind: str,
        scope: Scope,
        revision: int,
        *,
        version: int | None = None,
        force: bool = False,
        reason: str = "",
        dry_run: bool = False,
    ) -> ChangesBody:
        """Make the record again what it was at one of its versions; one that was deleted, too."""
        request = write(scope, version, force, reason)
        request = dry(request) if dry_run else request
        path, body = f"{_record(kind)}/rollback", RollbackBody(revision=revision)
        return await self._calls.one(ChangesBody, "POST", path, body=body, **request)


def _record(kind: str) -> str:
    return at("records", kind)
