"""The Starlette application that serves operations.

Starlette and pydantic serve a request in about a fifth of the time that FastAPI needs, whose
dependencies, parameters and bodies cannot be made as strict as `trimtab_admin.api.requests` is.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ExceptionHandler, Receive, Scope, Send

from trimtab import kinds
from trimtab.echoes import cut
from trimtab.errors import Forbidden, TrimtabError
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.api import openapi, problems, requests, responses
from trimtab_admin.api.doors import Door
from trimtab_admin.api.middleware import AccessMiddleware, CallMiddleware
from trimtab_admin.api.operation import PREFIX, Operation
from trimtab_admin.api.problems import ProblemError
from trimtab_admin.api.requests import BodyLimit
from trimtab_admin.api.responses import ProblemResponse
from trimtab_admin.garbage import full_collections
from trimtab_admin.settings.known_names import KnownNames

MAX_WORKFLOW_BYTES = 1024 * 1024
"""The largest body that registers a workflow: a larger one fits into no message. Written without
spaces it is smaller."""

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Limits:
    """The limits of the bodies that are read."""

    body_bytes: int
    documents_bytes: int
    """The limit of operations that take many documents, each of which becomes a message."""
    content_bytes: int
    """The limit of operations that take bytes."""
    part_seconds: float
    """How long the next part of a body is awaited."""

    def of(self, operation: Operation) -> int:
        """Return how large the body of an operation may be."""
        if operation.takes_content:
            return self.content_bytes
        if operation.takes_workflow:
            return max(self.body_bytes, MAX_WORKFLOW_BYTES)
        return self.documents_bytes if operation.takes_documents else self.body_bytes


def build(
    operations: Sequence[Operation],
    others: Sequence[Route],
    doors: Sequence[Door],
    access: AccessControl,
    names: KnownNames,
    limits: Limits,
    *,
    loopback_only: bool,
    lifespan: Lifespan,
) -> Starlette:
    """Return the application.

    ``others`` are routes outside of the API, such as health; ``doors`` are other APIs.
    """
    app = Starlette(
        routes=[
            *(_OperationRoute(operation, access, names, limits) for operation in operations),
            Route(problems.DESCRIPTION, _describe(operations)),
            *others,
        ],
        middleware=[
            Middleware(CallMiddleware, doors),
            Middleware(AccessMiddleware, access, loopback_only=loopback_only),
        ],
        exception_handlers=_EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    # A path with a slash at its end is another path; a redirect would go to whatever Host names.
    app.router.redirect_slashes = False
    return app


def _describe(operations: Sequence[Operation]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of the OpenAPI document, which is made once, at the first request."""

    @cache
    def document() -> bytes:
        return json.dumps(openapi.document(operations, kinds.registered().values())).encode()

    async def endpoint(_request: Request) -> Response:
        # A thread, because it takes long to make.
        return Response(await asyncio.to_thread(document), media_type="application/json")

    return endpoint


class _OperationRoute(Route):
    def __init__(
        self, operation: Operation, access: AccessControl, names: KnownNames, limits: Limits
    ) -> None:
        endpoint = _Endpoint(operation, access, names, limits)
        super().__init__(PREFIX + operation.path, endpoint, methods=[operation.method])
        self.methods = {operation.method}  # without HEAD, which Starlette adds to GET


class _Endpoint:
    """The ASGI application of one operation: authorize, parse, check names, handle, respond."""

    def __init__(
        self, operation: Operation, access: AccessControl, names: KnownNames, limits: Limits
    ) -> None:
        self._operation = operation
        self._access = access
        self._names = names
        self._body_limit = BodyLimit(limits.of(operation), limits.part_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        call: Call = request.state.call
        try:
            # Documents and what they change, or the nodes of a workflow, are very many objects.
            is_large = self._operation.takes_documents or self._operation.takes_workflow
            with full_collections.postponed() if is_large else nullcontext():
                response = await self._respond(call, request)
        except Forbidden as error:
            response = ProblemResponse.of(await self._access.refuse(call, error))
        await response(scope, receive, send)

    async def _respond(self, call: Call, request: Request) -> Response:
        operation = self._operation
        # The path wins: a query parameter of the same name cannot change what is authorized.
        parameters = {**request.query_params, **request.path_params}
        operation.requires(call.caller, parameters)
        arguments = await requests.arguments(operation, request, self._body_limit)
        await self._names.check(call.caller, parameters)
        warnings = await self._names.warnings(call.caller, parameters)
        request.state.warnings = warnings
        result = await operation.handler(call, **arguments)
        return await responses.of_result(operation, request, result, warnings)


async def _on_trimtab_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TrimtabError)
    response = ProblemResponse.of(error)
    responses.add_warnings(response, getattr(request.state, "warnings", ()))
    return response


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return ProblemResponse(error.problem)


async def _on_unrouted(request: Request, error: Exception) -> Response:
    """Respond to a path that has no route, or not for the method."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"]
    if error.status_code == 404:
        allowed = f"the paths of {problems.DESCRIPTION}"
        return ProblemResponse(problems.of_field(404, "path", path, allowed))
    methods = ", ".join(_methods(request.app.routes, path))
    allowed = f"{methods}, of {cut(path)}"
    problem = problems.of_field(error.status_code, "method", request.method, allowed)
    return ProblemResponse(problem, {"Allow": methods})


def _methods(routes: Iterable[Any], path: str) -> list[str]:
    """Return the methods of a path, of which each may have a route of its own."""
    matching = (route for route in routes if route.path_regex.match(path))
    return sorted({method for route in matching for method in route.methods or ()})


_EXCEPTION_HANDLERS: Mapping[Any, ExceptionHandler] = {
    TrimtabError: _on_trimtab_error,
    ProblemError: _on_problem,
    HTTPException: _on_unrouted,
}
