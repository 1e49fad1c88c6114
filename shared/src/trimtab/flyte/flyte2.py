"""The Connect client of a running Flyte 2, and its settings as records to import."""

from collections.abc import Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from flyteidl2.project.project_service_pb2 import (
    PROJECT_STATE_ARCHIVED,
    PROJECT_STATE_SYSTEM_ARCHIVED,
    ListProjectsRequest,
    ListProjectsResponse,
    Project,
)
from flyteidl2.settings.settings_definition_pb2 import Settings, SettingsKey
from flyteidl2.settings.settings_service_pb2 import (
    GetSettingsForEditRequest,
    GetSettingsForEditResponse,
)
from google.protobuf.message import DecodeError, Message

from trimtab import kinds
from trimtab.api.settings import ScopeBody
from trimtab.client.addresses import check_token, is_loopback, parse_address
from trimtab.errors import Invalid, Rejected, Unauthorized, Unavailable
from trimtab.flyte.importing import Given, Refusal
from trimtab.flyte.rows import FlyteProject
from trimtab.flyte.settings import documents, scope_of
from trimtab.settings.fold import Record

M = TypeVar("M", bound=Message)

_SECONDS = 60.0
_PAGE = 100
_ARCHIVED = (PROJECT_STATE_ARCHIVED, PROJECT_STATE_SYSTEM_ARCHIVED)


class Flyte2:
    """An async context manager; leaving it closes the connections."""

    def __init__(self, url: str, org: str = "", token: str = "") -> None:
        """Raises `Invalid` and `Rejected`."""
        check_token(token, "Flyte 2")
        self.url = parse_address(url).url.rstrip("/")
        self._org = org
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_SECONDS,
            trust_env=not is_loopback(self.url),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def projects(self) -> tuple[list[FlyteProject], list[str]]:
        """Return all projects, and the domains that they have."""
        found: list[Project] = []
        token = ""
        while True:
            request = ListProjectsRequest(limit=_PAGE, token=token, org=self._org)
            method = "flyteidl2.project.ProjectService/ListProjects"
            page = (await self._call(method, request, ListProjectsResponse)).projects
            found += page.projects
            token = page.token
            if not token or not page.projects:
                break
        domains = dict.fromkeys(domain.id for project in found for domain in project.domains)
        return [_project(each) for each in found], list(domains)

    async def settings(self, domain: str, project: str) -> list[tuple[SettingsKey, Settings]]:
        """Return the stored settings of a project in a domain and of all broader scopes."""
        key = SettingsKey(org=self._org, domain=domain, project=project)
        method = "flyteidl2.settings.SettingsService/GetSettingsForEdit"
        request = GetSettingsForEditRequest(key=key)
        found = await self._call(method, request, GetSettingsForEditResponse)
        # Version 0 stands for no record.
        return [(level.key, level.settings) for level in found.levels if level.version]

    async def _call(self, method: str, request: Message, shape: type[M]) -> M:
        """Raises `Unavailable`, `Unauthorized` and `Rejected`."""
        try:
            response = await self._http.post(
                f"/{method}",
                content=request.SerializeToString(),
                headers={"Content-Type": "application/proto", "Connect-Protocol-Version": "1"},
            )
        except httpx.TransportError as error:
            raise Unavailable(f"no Flyte 2 responds at {self.url}: {error}") from error
        if response.is_success:
            try:
                parsed: M = shape.FromString(response.content)
                return parsed
            except DecodeError as error:
                raise Rejected(f"the response of {response.url} is not Flyte 2's") from error
        text = f"Flyte 2 at {self.url} refuses {method}: {_reason(response)}"
        if response.status_code in (401, 403):
            raise Unauthorized(text)
        raise Unavailable(text) if response.status_code >= 502 else Rejected(text)


def _reason(response: httpx.Response) -> str:
    try:
        problem = response.json()
        return f"{problem['code']}: {problem.get('message', '')}"
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def _project(message: Project) -> FlyteProject:
    labels = dict(message.labels.values)
    is_archived = message.state in _ARCHIVED
    return FlyteProject(message.id, message.name, message.description, labels, is_archived)


def records(key: SettingsKey, settings: Settings) -> Iterator[Given | Refusal]:
    """Yield the records of the settings of one scope, and each leaf that Trimtab refuses."""
    scope, message = scope_of(key), Settings()
    message.CopyFrom(settings)
    while True:
        try:
            written = documents(message, {}, scope)
            break
        except Invalid as error:
            if not _clear(message, error.path):
                yield Refusal(what=f"settings of {scope}", reason=str(error))
                return
            what = f"{error.path} of {scope}"
            yield Refusal(what=what, reason=str(error), scope=ScopeBody.of(scope))
    for name, document in written.items():
        revise = partial(_revised, message, name, scope)
        record = Record.of(kinds.by_name(name), scope, 0, document)
        yield Given(f"{name} of {scope}", record, revise=revise)


def _revised(message: Settings, kind: str, scope: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    return dict(documents(message, {kind: stored}, scope).get(kind, {}))


def _clear(message: Any, path: str) -> bool:
    """Clear the leaf of a path in the message; return whether there was one."""
    for name in path.split("."):
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None or not message.HasField(name):
            return False
        inner = getattr(message, name)
        if "state" in inner.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
            return True
        message = inner
    return False
