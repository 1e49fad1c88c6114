"""The kinds that an API server serves, kept in memory."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import JsonValue

from trimtab_clusterres.clusters.kubernetes.connection import Connection
from trimtab_clusterres.clusters.kubernetes.problems import Refused
from trimtab_clusterres.clusters.port import ApiKind

_REFRESH_SECONDS = 5.0
"""The shortest time after which an unknown kind is looked for again."""
_KEPT_SECONDS = 600.0
"""How long known kinds are kept: a CustomResourceDefinition may be replaced by another."""


@dataclass(frozen=True)
class Kind:
    """A kind in one version of its API, and where its objects are."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        return group_of(self.api_version)

    def collection(self, namespace: str = "") -> str:
        """Return the path of the kind's objects: of all, or of those in a namespace."""
        root = f"{version_path(self.api_version)}/"
        if self.namespaced and namespace:
            root += f"namespaces/{quote(namespace, safe='')}/"
        return root + self.plural

    def path(self, namespace: str, name: str) -> str:
        return f"{self.collection(namespace)}/{quote(name, safe='')}"


class UnknownKind(Refused):
    """The API server does not serve a kind."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(404, f"the cluster serves no kind {kind} in {api_version}")


def group_of(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def version_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


class Discovery:
    """Kinds by the version of their API, each version read when it is first needed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kinds: dict[str, dict[str, Kind]] = {}
        self._versions: dict[str, tuple[str, ...]] = {}
        self._read_at: dict[str, float] = {}
        self._reading = asyncio.Lock()

    async def kind(self, api_kind: ApiKind) -> Kind:
        """Return a kind. Raises `UnknownKind`."""
        api_version, kind = api_kind
        async with self._reading:
            found = self._kinds.get(api_version, {}).get(kind)
            if self._is_due(api_version, _REFRESH_SECONDS if found is None else _KEPT_SECONDS):
                await self._read(api_version)
                found = self._kinds.get(api_version, {}).get(kind)
        if found is None:
            raise UnknownKind(api_version, kind)
        return found

    def doubt(self, kind: Kind) -> None:
        """Read the version of a kind again when it is needed, because its objects are not found.

        Its CustomResourceDefinition may have been removed, or replaced by one of another scope.
        """
        if self._is_due(kind.api_version, _REFRESH_SECONDS):
            self._read_at.pop(kind.api_version, None)

    async def kind_of_group(self, group: str, kind: str) -> Kind:
        """Return a kind in the version that the server prefers. Raises `UnknownKind`."""
        for api_version in await self._versions_of(group):
            try:
                return await self.kind(ApiKind(api_version, kind))
            except UnknownKind:
                continue
        raise UnknownKind(group or "v1", kind)

    def _is_due(self, what: str, seconds: float) -> bool:
        """Whether something was read so long ago, or never."""
        read_at = self._read_at.get(what)
        return read_at is None or time.monotonic() >= read_at + seconds

    async def _read(self, api_version: str) -> None:
        try:
            answer = await self._connection.request("GET", version_path(api_version))
        except Refused as refused:
            if refused.status != 404:
                raise
            self._kinds[api_version] = {}
        else:
            self._kinds[api_version] = {
                kind.kind: kind for kind in _kinds(api_version, answer.body.get("resources"))
            }
        self._read_at[api_version] = time.monotonic()

    async def _versions_of(self, group: str) -> tuple[str, ...]:
        """Return the versions of a group, the preferred one first."""
        if not group:
            return ("v1",)
        async with self._reading:
            seconds = _KEPT_SECONDS if self._versions.get(group) else _REFRESH_SECONDS
            if self._is_due(f"{group}/", seconds):
                self._versions[group] = await self._read_versions(group)
                self._read_at[f"{group}/"] = time.monotonic()
            return self._versions.get(group, ())

    async def _read_versions(self, group: str) -> tuple[str, ...]:
        try:
            answer = await self._connection.request("GET", f"/apis/{quote(group, safe='')}")
        except Refused as refused:
            if refused.status != 404:
                raise
            return ()
        preferred = _group_version(answer.body.get("preferredVersion"))
        versions = answer.body.get("versions")
        found = [_group_version(one) for one in (versions if isinstance(versions, list) else [])]
        return tuple(dict.fromkeys(one for one in (preferred, *found) if one))


def _group_version(version: JsonValue) -> str:
    return str(version.get("groupVersion", "")) if isinstance(version, dict) else ""


def _kinds(api_version: str, resources: JsonValue) -> Iterator[Kind]:
    for resource in resources if isinstance(resources, list) else []:
        # A name with a slash is a subresource, such as pods/status.
        if isinstance(resource, dict) and "/" not in (plural := str(resource.get("name", ""))):
            kind, namespaced = str(resource.get("kind", "")), resource.get("namespaced") is True
            yield Kind(api_version, kind, plural, namespaced)
