"""The client of admin's ``/api/v2``: nouns with verbs, our models, our errors.

::

    async with Client("http://127.0.0.1:8080", token) as client:
        effective = await client.records.effective("task_resource", Scope("development", "shop"))

Where admin gives no answer the error is `trimtab.errors.Unavailable`; a refusal is the error that
admin itself raised, with its words.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from trimtab.api.access import AuditBody, NewTokenBody, TokenBody, TokenCreate, TokenRotate
from trimtab.api.effective import EffectiveAllBody, EffectiveBody, ExplainBody
from trimtab.api.executions import ExecutionBody, ExecutionCreate, LaunchPlanBody, WorkflowBody
from trimtab.api.operations import DeadLetterBody, ReplayedBody, ResyncBody
from trimtab.api.places import (
    ClusterBody,
    DomainBody,
    PoolBody,
    PoolPriorityBody,
    PoolTokenBody,
    ProjectBody,
)
from trimtab.api.records import KindBody, RecordBody, RollbackBody
from trimtab.api.settings import ApplyBody, ChangesBody, DocumentBody, HistoryBody
from trimtab.calls import Calls
from trimtab.errors import NotFound, Unavailable
from trimtab.events import NamespaceStatus
from trimtab.levels import Scope
from trimtab.tokens import Audited, Inspected, Released, Reprioritized

SILENCE_SECONDS = 45.0
"""Three heartbeats of a watch."""
_RETRY_SECONDS = 1.0


class Client:
    """Use it as ``async with``: leaving closes its connections."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        calls = Calls(self.url, token)
        self._calls = calls
        self.kinds = Kinds(calls)
        self.records = Records(calls)
        self.settings = Settings(calls)
        self.projects = Projects(calls)
        self.domains = Domains(calls)
        self.clusters = Clusters(calls)
        self.pools = Pools(calls)
        self.workflows = Workflows(calls)
        self.launch_plans = LaunchPlans(calls)
        self.executions = Executions(calls)
        self.namespaces = Namespaces(calls)
        self.dead = DeadLetters(calls)
        self.tokens = Tokens(calls)
        self.audit = Audit(calls)

    async def resync(self) -> ResyncBody:
        """Have everything said again, for readers that have lost it. Every version becomes new."""
        return await self._calls.one(ResyncBody, "POST", "/resync", json={})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._calls.close()


def _precondition(version: int | None, force: bool) -> dict[str, Any]:
    """What a write demands of what is stored now."""
    if force:
        return {"params": {"force": "true"}}
    if version is None:
        return {"headers": {"If-None-Match": "*"}}
    return {"headers": {"If-Match": f'"{version}"'}}


def _parts(scope: Scope) -> dict[str, str]:
    parts = {
        "domain": scope.domain,
        "project": scope.project,
        "workflow": scope.workflow,
        "launch_plan": scope.launch_plan,
    }
    return {name: value for name, value in parts.items() if value}


def _write(scope: Scope, version: int | None, force: bool, reason: str) -> dict[str, Any]:
    """Parameters and headers of a write of one record."""
    precondition = _precondition(version, force)
    return {
        "headers": precondition.get("headers", {}) | _because(reason),
        "params": _parts(scope) | precondition.get("params", {}),
    }


def _because(reason: str) -> dict[str, str]:
    return {"X-Trimtab-Reason": reason} if reason else {}


def _dry(request: dict[str, Any]) -> dict[str, Any]:
    return request | {"params": request["params"] | {"dry_run": "true"}}


def _record(kind: str) -> str:
    return f"/records/{_step(kind)}"


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _given(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value}


def _step(name: str) -> str:
    """One step of a path, whatever stands in the name."""
    return quote(name, safe="")


class _Noun:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls


class Kinds(_Noun):
    async def list(self) -> Sequence[KindBody]:
        return await self._calls.many(KindBody, "/kinds")


class Records(_Noun):
    """What is stored for a kind at a scope.

    Writes carry the version that the caller has seen, ``None`` for "there is no record"; another
    one stored raises `Stale`. ``force`` writes over whatever is there. The ``dry`` ones change
    nothing and say what would change, for whom.
    """

    async def list(self, kind: str | None = None, **where: str) -> Sequence[RecordBody]:
        """Those of a kind, and of a ``level`` or of parts of a scope."""
        return await self._calls.many(RecordBody, "/records", _given(kind=kind, **where))

    async def get(self, kind: str, scope: Scope) -> RecordBody | None:
        """The record of exactly this scope; ``None`` where there is none."""
        try:
            return await self._calls.one(RecordBody, "GET", _record(kind), params=_parts(scope))
        except NotFound as error:
            if error.what != "record":
                raise
            return None

    async def effective(self, kind: str, target: Scope) -> EffectiveBody:
        path = f"/effective/{_step(kind)}"
        return await self._calls.one(EffectiveBody, "GET", path, params=_parts(target))

    async def explain(self, kind: str, target: Scope) -> ExplainBody:
        """Where each part of the effective value comes from, who said it, when and why."""
        path = f"/explain/{_step(kind)}"
        return await self._calls.one(ExplainBody, "GET", path, params=_parts(target))

    async def history(
        self, kind: str, scope: Scope, *, since: int | None = None, limit: int | None = None
    ) -> Sequence[HistoryBody]:
        """Changes of exactly this record, the newest first."""
        params = _parts(scope) | _given(since=_text(since), limit=_text(limit))
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
        request = _write(scope, version, force, reason)
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
        request = _dry(_write(scope, version, force, ""))
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
        request = _write(scope, version, force, reason)
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
        request = _dry(_write(scope, version, force, ""))
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
        request = _write(scope, version, force, reason)
        await self._calls.send("DELETE", _record(kind), **request)

    async def dry_delete(
        self, kind: str, scope: Scope, *, version: int | None = None, force: bool = False
    ) -> ChangesBody:
        request = _dry(_write(scope, version, force, ""))
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
        request = _write(scope, version, force, reason)
        request = _dry(request) if dry_run else request
        path, body = f"{_record(kind)}/rollback", RollbackBody(revision=revision)
        return await self._calls.one(ChangesBody, "POST", path, body=body, **request)


class Settings(_Noun):
    """All records, projects, domains, clusters and pools together."""

    async def apply(
        self,
        documents: Sequence[DocumentBody],
        *,
        prune: str = "",
        dry_run: bool = False,
        reason: str = "",
    ) -> ChangesBody:
        """Write all of them in one transaction, or nothing.

        ``prune``, a label such as ``owner=team-a``, is given to each record of the documents, and
        records that have it and are not among them are deleted.
        """
        request: dict[str, Any] = {"params": _given(prune=prune), "headers": _because(reason)}
        request = _dry(request) if dry_run else request
        body = ApplyBody(documents=tuple(documents))
        return await self._calls.one(ChangesBody, "POST", "/apply", body=body, **request)

    async def diff(self, documents: Sequence[DocumentBody], *, prune: str = "") -> ChangesBody:
        """What `apply` would change, for whom."""
        return await self.apply(documents, prune=prune, dry_run=True)

    async def export(self, *, readable_only: bool = False) -> Sequence[DocumentBody]:
        """Everything, as documents that `apply` takes back.

        Raises `Rejected` where a record cannot be read by admin, unless they are left out.
        """
        params = {"readable_only": "true"} if readable_only else {}
        return (await self._calls.one(ApplyBody, "GET", "/export", params=params)).documents

    async def effective(self, target: Scope) -> EffectiveAllBody:
        """What applies to a target, of every kind."""
        return await self._calls.one(EffectiveAllBody, "GET", "/effective", params=_parts(target))

    async def history(
        self,
        kind: str | None = None,
        *,
        since: int | None = None,
        limit: int | None = None,
        **parts: str,
    ) -> Sequence[HistoryBody]:
        """Changes, the newest first, of a kind and of parts of a scope."""
        params = _given(kind=kind, since=_text(since), limit=_text(limit), **parts)
        return await self._calls.many(HistoryBody, "/history", params, limit)

    async def watch(
        self, kind: str | None = None, *, since: int | None = None, **parts: str
    ) -> AsyncGenerator[HistoryBody, None]:
        """Changes as they are committed, after a revision or from now on; it ends with its user.

        It goes on after an outage where it was. Raises `trimtab.errors.Gone` where admin no longer
        has all changes since then: read everything again.
        """
        params = _given(kind=kind, since=_text(since), **parts)
        while True:
            try:
                async with self._calls.lines("/watch", params, SILENCE_SECONDS) as lines:
                    async for line in lines:
                        name, _, value = line.partition(": ")
                        if name == "id":
                            params["since"] = value
                        elif name == "data":
                            yield HistoryBody.model_validate_json(value)
            except Unavailable:
                if "since" not in params:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)


class Projects(_Noun):
    async def list(self) -> Sequence[ProjectBody]:
        return await self._calls.many(ProjectBody, "/projects")

    async def get(self, name: str) -> ProjectBody:
        return await self._calls.one(ProjectBody, "GET", f"/projects/{_step(name)}")

    async def create(self, project: ProjectBody) -> ProjectBody:
        """Raises `Conflict` where the name is taken."""
        return await self._calls.one(ProjectBody, "POST", "/projects", body=project)

    async def patch(
        self, name: str, changes: Mapping[str, Any], *, version: int | None = None
    ) -> ProjectBody:
        """Change ``description``, ``labels`` or ``state``; what is not named stays."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        path = f"/projects/{_step(name)}"
        return await self._calls.one(ProjectBody, "PATCH", path, json=changes, headers=headers)

    async def archive(self, name: str) -> ProjectBody:
        """Nothing can be executed in it, and its namespaces are left alone."""
        return await self.patch(name, {"state": "archived"})

    async def unarchive(self, name: str) -> ProjectBody:
        return await self.patch(name, {"state": "active"})


class Domains(_Noun):
    async def list(self) -> Sequence[DomainBody]:
        return await self._calls.many(DomainBody, "/domains")

    async def create(self, domain: DomainBody) -> DomainBody:
        """Raises `Conflict` where the name is taken."""
        return await self._calls.one(DomainBody, "POST", "/domains", body=domain)


class Clusters(_Noun):
    async def list(self) -> Sequence[ClusterBody]:
        return await self._calls.many(ClusterBody, "/clusters")

    async def put(self, cluster: ClusterBody, *, version: int | None = None) -> ClusterBody:
        """Declare a cluster; without a version, whatever is stored is replaced."""
        request = _precondition(version, force=version is None)
        path = f"/clusters/{_step(cluster.name)}"
        return await self._calls.one(ClusterBody, "PUT", path, body=cluster, **request)


class Pools(_Noun):
    async def list(self) -> Sequence[PoolBody]:
        return await self._calls.many(PoolBody, "/pools")

    async def get(self, name: str) -> PoolBody:
        return await self._calls.one(PoolBody, "GET", f"/pools/{_step(name)}")

    async def put(
        self, pool: PoolBody, *, version: int | None = None, force: bool = False
    ) -> PoolBody:
        """Declare a pool, as `Records.put` does a record."""
        request = _precondition(version, force)
        path = f"/pools/{_step(pool.name)}"
        return await self._calls.one(PoolBody, "PUT", path, body=pool, **request)

    async def delete(
        self, name: str, *, version: int | None = None, force: bool = False, reason: str = ""
    ) -> None:
        """Nothing more is granted of it; who holds something keeps it. There being none is fine."""
        request = _write(Scope(), version, force, reason)
        await self._calls.send("DELETE", f"/pools/{_step(name)}", **request)

    async def usage(self, name: str) -> Inspected:
        """Who holds and who waits, as resmgr says it now."""
        return await self._calls.one(Inspected, "GET", f"/pools/{_step(name)}/usage")

    async def audit(self, name: str) -> Audited:
        """Count the pool anew, and tell what admins took away."""
        return await self._calls.one(Audited, "GET", f"/pools/{_step(name)}/audit")

    async def release(
        self, name: str, token: str, *, reason: str, pools: Sequence[str] = ()
    ) -> Released:
        """Take a token or a place away. ``pools`` are all that it is of, where there are several.

        Its holder is told that it is lost.
        """
        path = f"/pools/{_step(name)}/tokens/{_step(token)}/release"
        body, headers = PoolTokenBody(pools=tuple(pools)), _because(reason)
        return await self._calls.one(Released, "POST", path, body=body, headers=headers)

    async def reprioritize(
        self, name: str, token: str, priority: int, *, pools: Sequence[str] = ()
    ) -> Reprioritized:
        """Let a request that waits come earlier or later."""
        path = f"/pools/{_step(name)}/tokens/{_step(token)}"
        body = PoolPriorityBody(priority=priority, pools=tuple(pools))
        return await self._calls.one(Reprioritized, "PATCH", path, body=body)


class Workflows(_Noun):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[WorkflowBody]:
        params = _given(project=project, domain=domain)
        return await self._calls.many(WorkflowBody, "/workflows", params)

    async def get(
        self, project: str, domain: str, name: str, version: str | None = None
    ) -> WorkflowBody:
        """The version asked for, or the newest."""
        path = f"/workflows/{_step(project)}/{_step(domain)}/{_step(name)}"
        return await self._calls.one(WorkflowBody, "GET", path, params=_given(version=version))

    async def create(self, workflow: WorkflowBody) -> WorkflowBody:
        """The same version again is fine; with another content it raises `Conflict`."""
        return await self._calls.one(WorkflowBody, "POST", "/workflows", body=workflow)


class LaunchPlans(_Noun):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[LaunchPlanBody]:
        params = _given(project=project, domain=domain)
        return await self._calls.many(LaunchPlanBody, "/launch_plans", params)

    async def create(self, launch_plan: LaunchPlanBody) -> LaunchPlanBody:
        return await self._calls.one(LaunchPlanBody, "POST", "/launch_plans", body=launch_plan)


class Executions(_Noun):
    async def create(self, execution: ExecutionCreate) -> ExecutionBody:
        return await self._calls.one(ExecutionBody, "POST", "/executions", body=execution)

    async def list(
        self, project: str | None = None, domain: str | None = None, limit: int = 100
    ) -> Sequence[ExecutionBody]:
        """The newest first."""
        params = _given(project=project, domain=domain, limit=str(limit))
        return await self._calls.many(ExecutionBody, "/executions", params)

    async def get(self, execution: str) -> ExecutionBody:
        """With its nodes and its resolution."""
        return await self._calls.one(ExecutionBody, "GET", f"/executions/{_step(execution)}")


class Namespaces(_Noun):
    async def list(self) -> Sequence[NamespaceStatus]:
        return await self._calls.many(NamespaceStatus, "/namespaces")


class DeadLetters(_Noun):
    """Messages that the consumer of a work queue gave up."""

    async def list(
        self, stream: str | None = None, consumer: str | None = None, limit: int | None = None
    ) -> Sequence[DeadLetterBody]:
        """The oldest first, without bodies."""
        params = _given(stream=stream, consumer=consumer)
        return await self._calls.many(DeadLetterBody, "/dead", params, limit)

    async def get(self, sequence: int) -> DeadLetterBody:
        return await self._calls.one(DeadLetterBody, "GET", f"/dead/{sequence}")

    async def replay(self, sequence: int) -> ReplayedBody:
        """Publish it where it was, and forget that it was dead."""
        return await self._calls.one(ReplayedBody, "POST", f"/dead/{sequence}/replay", json={})


class Tokens(_Noun):
    """Of the API; only an admin of the platform may see and change them."""

    async def list(self) -> Sequence[TokenBody]:
        """The oldest first, with those that were revoked."""
        return await self._calls.many(TokenBody, "/tokens")

    async def get(self, id: str) -> TokenBody:
        return await self._calls.one(TokenBody, "GET", f"/tokens/{_step(id)}")

    async def create(self, token: TokenCreate) -> NewTokenBody:
        """With its secret, which is told once. Raises `Conflict` where the name is taken."""
        return await self._calls.one(NewTokenBody, "POST", "/tokens", body=token)

    async def rotate(self, id: str, rotate: TokenRotate | None = None) -> NewTokenBody:
        """With a new secret; the one before is taken until the grace is over."""
        path, body = f"/tokens/{_step(id)}/rotate", rotate or TokenRotate()
        return await self._calls.one(NewTokenBody, "POST", path, body=body)

    async def revoke(self, id: str) -> TokenBody:
        return await self._calls.one(TokenBody, "DELETE", f"/tokens/{_step(id)}")


class Audit(_Noun):
    """Calls that were refused, and changes of tokens."""

    async def list(
        self,
        *,
        status: int | None = None,
        caller: str | None = None,
        client: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Sequence[AuditBody]:
        """The newest first; ``since`` is aware of its zone."""
        at = None if since is None else since.isoformat()
        asked = _given(status=_text(status), caller=caller, client=client, since=at)
        return await self._calls.many(AuditBody, "/audit", asked, limit)
