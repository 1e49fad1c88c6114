"""The servers that the REST door of Flyte is compared with: an empty route, and the door itself
with a handler that returns one message."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any, cast

import psutil
import uvicorn
import uvloop
from flyteidl.admin.project_domain_attributes_pb2 import ProjectDomainAttributesGetResponse
from flyteidl.service.admin_pb2 import DESCRIPTOR
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tests.flyte.admins import TOKEN
from tests.servers import free_port
from trimtab_admin.access.authentication import Authentication
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.access.throttling import FailureLimit
from trimtab_admin.api.middleware import AccessMiddleware, CallMiddleware
from trimtab_admin.flyte.rest_door import RestDoor
from trimtab_admin.flyte.rpc import Rpc, Service, any_caller

PATH = "/api/v1/project_domain_attributes/shop/development"


def empty_route() -> ASGIApp:
    async def respond(_request: Request) -> Response:
        return Response(b"{}", media_type="application/json")

    return Starlette(routes=[Route(PATH, respond)])


def canned_message() -> ASGIApp:
    """Return the door behind the middleware of admin, for callers with the token."""
    message = ProjectDomainAttributesGetResponse()
    message.attributes.project, message.attributes.domain = "shop", "development"
    resources = message.attributes.matching_attributes.task_resource_attributes
    resources.defaults.cpu = "100m"

    async def handle(_call: Call, _request: Any) -> ProjectDomainAttributesGetResponse:
        return message

    # The token is that of the token file: nothing reads a database.
    nothing = cast(Any, None)
    authentication = Authentication(nothing, nothing, TOKEN)
    access = AccessControl(authentication, nothing, FailureLimit(1000), {})
    service = Service(
        DESCRIPTOR.services_by_name["AdminService"],
        [Rpc("GetProjectDomainAttributes", handle, any_caller)],
    )
    door = RestDoor([service], access, 30)
    return CallMiddleware(AccessMiddleware(empty_route(), access, loopback_only=True), [door])


def serve(make: Callable[[], ASGIApp], port: int, ready: Connection) -> None:
    """Serve an application until the process is ended."""

    async def run() -> None:
        config = uvicorn.Config(
            make(), port=port, http="httptools", ws="none", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        ready.send(None)
        await serving

    uvloop.run(run())


@asynccontextmanager
async def serving(make: Callable[[], ASGIApp]) -> AsyncIterator[tuple[str, psutil.Process]]:
    """Yield the address of an application in a process of its own, and the process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    port = free_port()
    process = context.Process(target=serve, args=(make, port, there), daemon=True)
    process.start()
    try:
        await asyncio.to_thread(here.recv)
        assert process.pid is not None
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join()
