"""The client of admin's ``/api/v2``: nouns with verbs, our models, our errors.

::

    async with Client("http://127.0.0.1:8080", token) as client:
        effective = await client.records.effective("task_resource", Scope("development", "shop"))

Where admin gives no answer the error is `trimtab.errors.Unavailable`; a refusal is the error that
admin itself raised, with its words.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from trimtab.api import (
    ClusterBody,
    DomainBody,
    EffectiveBody,
    ExecutionBody,
    ExecutionCreate,
    KindBody,
    LaunchPlanBody,
    PoolBody,
    Problem,
    ProjectBody,
    RecordBody,
    WorkflowBody,
)
from trimtab.errors import (
    Conflict,
    Invalid,
    NotFound,
    Rejected,
    Stale,
    TrimtabError,
    Unauthorized,
    Unavailable,
)
from trimtab.events import NamespaceStatus
from trimtab.levels import Scope

TIMEOUT_SECONDS = 30.0
"""Of one call; a write may wait behind others."""

B = TypeVar("B", bound=BaseModel)


class Client:
    """Use it as ``async with``: leaving closes its connections."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        calls = _Calls(self.url, token)
        self._calls = calls
        self.kinds = Kinds(calls)
        self.records = Records(calls)
        self.projects = Projects(calls)
        self.domains = Domains(calls)
        self.clusters = Clusters(calls)
        self.pools = Pools(calls)
        self.workflows = Workflows(calls)
        self.launch_plans = LaunchPlans(calls)
        self.executions = Executions(calls)
        self.namespaces = Namespaces(calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._calls.close()


class _Calls:
    """HTTP, where it becomes bodies and errors."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        address = urlsplit(url)
        self._http = httpx.AsyncClient(
            base_url=f"{url}/api/v2",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_SECONDS,
            # Loading the certificates takes longer than a call, and plain HTTP needs none.
            verify=address.scheme == "https",
            # A proxy of the environment cannot reach this machine's loopback.
            trust_env=address.hostname not in {"127.0.0.1", "::1", "localhost"},
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def one(
        self, shape: type[B], method: str, path: str, body: BaseModel | None = None, **request: Any
    ) -> B:
        if body is not None:
            request["json"] = body.model_dump(mode="json")
        answer = await self.send(method, path, **request)
        parsed: B = self._parsed(TypeAdapter(shape), answer)
        return parsed

    async def many(
        self, shape: type[B], path: str, params: Mapping[str, str] | None = None
    ) -> tuple[B, ...]:
        answer = await self.send("GET", path, params=params)
        return tuple(self._parsed(TypeAdapter(list[shape]), answer))  # type: ignore[valid-type]

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.TimeoutException as error:
            raise Unavailable(f"{self._url} gave no answer in {TIMEOUT_SECONDS:.0f} s") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"no Trimtab answers at {self._url} ({error}); start one with `trimtab up`, "
                "or name another with --server"
            ) from error
        if answer.is_error:
            raise self._refusal(answer)
        return answer

    def _parsed(self, shape: TypeAdapter[Any], answer: httpx.Response) -> Any:
        try:
            return shape.validate_json(answer.content)
        except ValidationError as error:
            raise self._foreign(answer) from error

    def _refusal(self, answer: httpx.Response) -> TrimtabError:
        try:
            problem = Problem.model_validate_json(answer.content)
        except ValidationError:
            return self._foreign(answer)
        error = _error(problem)
        # The constructors word what they are given; admin has done so already.
        error.args = (problem.detail,)
        return error

    def _foreign(self, answer: httpx.Response) -> TrimtabError:
        return Unavailable(
            f"what {answer.url} answers (status {answer.status_code}) is not Trimtab's; "
            "is it another server, or another release?"
        )


def _error(problem: Problem) -> TrimtabError:
    """The error that admin turned into the problem."""
    match problem.status:
        case 400 if problem.path is not None:
            return Invalid(problem.path, problem.value, problem.allowed or "")
        case 401 | 403:
            return Unauthorized(problem.detail)
        case 404:
            return NotFound(problem.path or "", str(problem.value or ""), problem.allowed or "")
        case 409:
            return Conflict(problem.detail)
        case 412:
            return Stale(problem.path or "", problem.given_version, problem.stored_version)
        case status if status >= 500:
            return Unavailable(problem.detail)
        case _:
            return Rejected(problem.detail)


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


def _given(**parameters: str | None) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value}


def _step(name: str) -> str:
    """One step of a path, whatever stands in the name."""
    return quote(name, safe="")


class _Noun:
    def __init__(self, calls: _Calls) -> None:
        self._calls = calls


class Kinds(_Noun):
    async def list(self) -> Sequence[KindBody]:
        return await self._calls.many(KindBody, "/kinds")


class Records(_Noun):
    """What is stored for a kind at a scope.

    Writes carry the version that the caller has seen, ``None`` for "there is no record"; another
    one stored raises `Stale`. ``force`` writes over whatever is there.
    """

    async def list(self, kind: str | None = None) -> Sequence[RecordBody]:
        return await self._calls.many(RecordBody, "/records", _given(kind=kind))

    async def get(self, kind: str, scope: Scope) -> RecordBody | None:
        """The record of exactly this scope; ``None`` where there is none."""
        path = f"/records/{_step(kind)}"
        try:
            return await self._calls.one(RecordBody, "GET", path, params=_parts(scope))
        except NotFound as error:
            if error.what != "record":
                raise
            return None

    async def effective(self, kind: str, target: Scope) -> EffectiveBody:
        path = f"/effective/{_step(kind)}"
        return await self._calls.one(EffectiveBody, "GET", path, params=_parts(target))

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
        request = self._write(scope, version, force, reason)
        path = f"/records/{_step(kind)}"
        return await self._calls.one(RecordBody, "PUT", path, json=document, **request)

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
        request = self._write(scope, version, force, reason)
        request["headers"]["Content-Type"] = "application/merge-patch+json"
        path = f"/records/{_step(kind)}"
        return await self._calls.one(RecordBody, "PATCH", path, json=changes, **request)

    async def delete(
        self, kind: str, scope: Scope, *, version: int | None = None, force: bool = False
    ) -> None:
        """Remove exactly this record. There being none is fine."""
        request = self._write(scope, version, force, "")
        await self._calls.send("DELETE", f"/records/{_step(kind)}", **request)

    def _write(self, scope: Scope, version: int | None, force: bool, reason: str) -> dict[str, Any]:
        precondition = _precondition(version, force)
        headers = precondition.get("headers", {})
        if reason:
            headers["X-Trimtab-Reason"] = reason
        return {"headers": headers, "params": _parts(scope) | precondition.get("params", {})}


class Projects(_Noun):
    async def list(self) -> Sequence[ProjectBody]:
        return await self._calls.many(ProjectBody, "/projects")

    async def get(self, name: str) -> ProjectBody:
        return await self._calls.one(ProjectBody, "GET", f"/projects/{_step(name)}")

    async def create(self, project: ProjectBody) -> ProjectBody:
        """Raises `Conflict` where the name is taken."""
        return await self._calls.one(ProjectBody, "POST", "/projects", body=project)


class Domains(_Noun):
    async def list(self) -> Sequence[DomainBody]:
        return await self._calls.many(DomainBody, "/domains")

    async def create(self, domain: DomainBody) -> DomainBody:
        """Raises `Conflict` where the name is taken."""
        return await self._calls.one(DomainBody, "POST", "/domains", body=domain)


class Clusters(_Noun):
    async def list(self) -> Sequence[ClusterBody]:
        return await self._calls.many(ClusterBody, "/clusters")


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
