"""Where the doors of Flyte's clients are composed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.api.maintenance import DoorBody
from trimtab.errors import Invalid
from trimtab_admin.access.authorization import anonymous_callers
from trimtab_admin.access.control import AccessControl
from trimtab_admin.api.doors import Door
from trimtab_admin.api.requests import BodyLimit
from trimtab_admin.config import AdminConfig
from trimtab_admin.flyte import admin_service, auth_metadata
from trimtab_admin.flyte.connect_door import ConnectDoor
from trimtab_admin.flyte.rest_door import RestDoor
from trimtab_admin.flyte.rpc import Service
from trimtab_admin.flyte.settings_service import SettingsRpcs
from trimtab_admin.maintenance.readiness import Readiness
from trimtab_admin.settings.history import History
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.tree import Tree

if TYPE_CHECKING:
    from trimtab_admin.flyte.grpc_door import GrpcDoor


@dataclass(frozen=True)
class Storage:
    """The parts of admin that the services read and write with."""

    tree: Tree
    reading: Sessions
    writer: Writer
    history: History


@dataclass(frozen=True)
class FlyteDoors:
    """All doors of Flyte's clients."""

    http: Sequence[Door]
    """The doors on the port of the API."""
    grpc: "GrpcDoor | None"
    anonymous_doors: Sequence[str]
    """The doors of the configuration that need no token, with their roles."""

    def bodies(self) -> Sequence[DoorBody]:
        roles = {
            name: caller.grants[0].role.label
            for name, caller in anonymous_callers(self.anonymous_doors).items()
        }
        found = [DoorBody(name=door.name, anonymous=roles.get(door.name, "")) for door in self.http]
        if self.grpc is None:
            return found
        grpc = DoorBody(
            name="grpc",
            port=self.grpc.port,
            tls=self.grpc.has_tls,
            anonymous=roles.get("grpc", ""),
        )
        return [grpc, *found]


def build(
    config: AdminConfig,
    access: AccessControl,
    readiness: Readiness,
    storage: Storage,
) -> FlyteDoors:
    """Raises `OSError` and `TrimtabError` where the gRPC door cannot be served as configured."""
    v1 = admin_service.make(
        storage.tree, storage.reading, storage.writer, storage.history, config.domains
    )
    services = [v1, auth_metadata.make()]
    rest = RestDoor(services, access, config.request_seconds)
    v2 = SettingsRpcs(storage.writer, storage.history, storage.tree, storage.reading).service()
    connect = ConnectDoor([v2], access, BodyLimit(config.max_body_bytes, config.request_seconds))
    grpc = _grpc(config, access, readiness, services)
    return FlyteDoors([rest, connect], grpc, config.anonymous_doors)


def _grpc(
    config: AdminConfig, access: AccessControl, readiness: Readiness, services: Sequence[Service]
) -> "GrpcDoor | None":
    if config.grpc_port is None:
        if config.grpc_certificate or config.grpc_key:
            raise Invalid("grpc_port", None, "a port, where grpc_certificate or grpc_key is set")
        return None
    # Loading gRPC takes time and memory, which an admin without the port saves.
    from trimtab_admin.flyte import health  # noqa: PLC0415
    from trimtab_admin.flyte.grpc_door import GrpcDoor, Listener  # noqa: PLC0415

    listener = Listener(
        config.host,
        config.grpc_port,
        config.grpc_certificate,
        config.grpc_key,
        config.reuse_port,
        config.request_seconds,
    )
    checked = health.make(readiness.reasons, [service.name for service in services])
    return GrpcDoor([*services, checked], access, listener)
