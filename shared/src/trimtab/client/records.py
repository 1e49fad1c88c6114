"""Kinds and records: stored documents, effective values and their provenance."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.api.settings import (
    ChangesBody,
    EffectiveBody,
    ExplainBody,
    HistoryBody,
    KindBody,
    RecordBody,
    RollbackBody,
)
from trimtab.client.http import (
    Collection,
    as_dry_run,
    path_of,
    scope_parameters,
    without_empty,
    write_request,
)
from trimtab.errors import NotFound
from trimtab.levels import Scope
from trimtab.models import parse_model


class Kinds(Collection):
    async def list(self) -> Sequence[KindBody]:
        return await self._http.fetch_list(KindBody, "/kinds")


class Records(Collection):
    """The stored documents of a kind.

    A write names the version that it replaces, ``None`` where there is no record; it raises `Stale`
    where another version is stored. ``force`` replaces any version. Methods whose names begin with
    ``dry_`` change nothing, and return the changes and their blast radius.
    """

    async def list(self, kind: str | None = None, **where: str) -> Sequence[RecordBody]:
        """Return the records of a kind, of a ``level`` and of the given parts of a scope."""
        return await self._http.fetch_list(
            RecordBody, "/records", without_empty(kind=kind, **where)
        )

    async def get(self, kind: str, scope: Scope) -> RecordBody | None:
        """Return the record of exactly this scope; ``None`` where there is none."""
        try:
            return await self._http.fetch(
                RecordBody, "GET", _record(kind), params=scope_parameters(scope)
            )
        except NotFound as error:
            if error.object_type != "record":
                raise
            return None

    async def effective(self, kind: str, target: Scope) -> EffectiveBody:
        path = path_of("effective", kind)
        return await self._http.fetch(EffectiveBody, "GET", path, params=scope_parameters(target))

    async def explain(self, kind: str, target: Scope) -> ExplainBody:
        """Return the effective value with its provenance: who set each field, when and why."""
        path = path_of("explain", kind)
        return await self._http.fetch(ExplainBody, "GET", path, params=scope_parameters(target))

    async def history(
        self, kind: str, scope: Scope, *, since: int | None = None, limit: int | None = None
    ) -> Sequence[HistoryBody]:
        """Return the changes of exactly this record, the newest first."""
        params = scope_parameters(scope) | without_empty(since=since, limit=limit)
        return await self._http.fetch_list(HistoryBody, f"{_record(kind)}/history", params, limit)

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
        request = write_request(scope, version, force, reason)
        return await self._http.fetch(RecordBody, "PUT", _record(kind), json=document, **request)

    async def dry_put(
        self,
        kind: str,
        scope: Scope,
        document: Mapping[str, Any],
        *,
        version: int | None = None,
        force: bool = False,
    ) -> ChangesBody:
        request = as_dry_run(write_request(scope, version, force, ""))
        return await self._http.fetch(ChangesBody, "PUT", _record(kind), json=document, **request)

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
        """Change fields by JSON merge patch: ``None`` removes a field, so it inherits again."""
        request = write_request(scope, version, force, reason)
        return await self._http.fetch(RecordBody, "PATCH", _record(kind), json=changes, **request)

    async def dry_patch(
        self,
        kind: str,
        scope: Scope,
        changes: Mapping[str, Any],
        *,
        version: int | None = None,
        force: bool = False,
    ) -> ChangesBody:
        request = as_dry_run(write_request(scope, version, force, ""))
        return await self._http.fetch(ChangesBody, "PATCH", _record(kind), json=changes, **request)

    async def delete(
        self,
        kind: str,
        scope: Scope,
        *,
        version: int | None = None,
        force: bool = False,
        reason: str = "",
    ) -> None:
        """Delete exactly this record. It need not exist."""
        request = write_request(scope, version, force, reason)
        await self._http.send("DELETE", _record(kind), **request)

    async def dry_delete(
        self, kind: str, scope: Scope, *, version: int | None = None, force: bool = False
    ) -> ChangesBody:
        request = as_dry_run(write_request(scope, version, force, ""))
        return await self._http.fetch(ChangesBody, "DELETE", _record(kind), **request)

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
        """Restore one of the record's versions, also after the record was deleted."""
        request = write_request(scope, version, force, reason)
        request = as_dry_run(request) if dry_run else request
        path, body = f"{_record(kind)}/rollback", parse_model(RollbackBody, {"revision": revision})
        return await self._http.fetch(ChangesBody, "POST", path, body=body, **request)


def _record(kind: str) -> str:
    return path_of("records", kind)
