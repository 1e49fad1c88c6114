"""The health service of gRPC, ``grpc.health.v1``: it is serving while admin is ready."""

from collections.abc import Awaitable, Callable, Collection, Mapping

from google.rpc import code_pb2
from grpc_health.v1 import health_pb2

from trimtab_admin.access.call import Call
from trimtab_admin.flyte.rpc import Rpc, RpcError, Service, any_caller

FLYTE = "flyteadmin"
"""The name that Flyte gives to the whole server, besides the empty one of the protocol."""

_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"]
_Response = health_pb2.HealthCheckResponse


def make(reasons: Callable[[], Awaitable[Mapping[str, str]]], names: Collection[str]) -> Service:
    """Return the service. ``reasons`` returns why admin is not ready; ``names`` are those of the
    services that have the same health.

    It has no ``Watch``: clients that get UNIMPLEMENTED for it go on without health.
    """
    known = {"", FLYTE, _SERVICE.full_name, *names}

    async def check(
        _call: Call, request: health_pb2.HealthCheckRequest
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in known:
            raise RpcError(code_pb2.NOT_FOUND, "unknown service")
        status = _Response.NOT_SERVING if await reasons() else _Response.SERVING
        return _Response(status=status)

    # A supervisor has no API token.
    return Service(_SERVICE, [Rpc("Check", check, any_caller, is_open=True)])
