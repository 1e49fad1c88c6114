"""Routes that take nothing on trust: callers, parameters and bodies.

A route that says no right of its caller is for admins. A query parameter that it does not know, or
that comes twice, is an error. A write is JSON by its content type, so that no form of another page
can send one, and a body is JSON as its standard says it: Python's own reader takes more than can be
written again.
"""

import json
import math
import re
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute

from trimtab.errors import Invalid
from trimtab_admin.access.rights import Role
from trimtab_admin.api import rights
from trimtab_admin.api.problems import Refused, of_field

_CONTENT_TYPES = {
    "POST": ("application/json",),
    "PUT": ("application/json",),
    "PATCH": ("application/merge-patch+json", "application/json"),
}
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MAX_DIGITS = 1000
"""Of a number; more than any has that means something, and Python refuses those above 4300."""


class _Request(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parsed(await self.body())
        return self._json


class Route(APIRoute):
    """A route that is held to them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        own = [dependency.call for dependency in self.dependant.dependencies]
        self._is_for_admins = not rights.says_a_right(own)
        self._query = {
            field.alias
            for field in get_flat_params(self.dependant)
            if getattr(field.field_info, "in_", ParamTypes.query) is ParamTypes.query
        }

    def handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers, once the call is found to be in order."""
        return super().get_route_handler()

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = self.handler()

        async def strict(request: Request) -> Response:
            if self._is_for_admins:
                rights.caller(request).check(Role.ADMIN)
            _check_content_type(request)
            self._check_parameters(request)
            return await handle(_Request(request.scope, request.receive))

        return strict

    def _check_parameters(self, request: Request) -> None:
        """Raises `Invalid`."""
        for name, value in request.path_params.items():
            if "\0" in value:
                raise Invalid(name, value, "text without NUL")
        seen = set()
        for name, value in request.query_params.multi_items():
            if name not in self._query:
                known = ", ".join(sorted(self._query)) or "no parameter"
                raise Invalid(name, value, f"{known}; there is no parameter of this name")
            if name in seen:
                raise Invalid(name, value, "one value")
            if "\0" in value:
                raise Invalid(name, value, "text without NUL")
            seen.add(name)


class Routes(APIRouter):
    """A router of such routes."""

    def __init__(self, prefix: str = "", *, tags: list[str]) -> None:
        super().__init__(prefix=prefix, tags=[*tags], route_class=Route)


def _check_content_type(request: Request) -> None:
    """Raises `trimtab_admin.api.problems.Refused`."""
    allowed = _CONTENT_TYPES.get(request.method, ())
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if allowed and given not in allowed:
        raise Refused(of_field(415, "Content-Type", given, " or ".join(allowed)))


def parsed(body: bytes) -> Any:
    """Raises `json.JSONDecodeError`, also on what could not be stored or answered."""
    try:
        if _SURROGATE.search(body):
            # Halves of a character come in pairs, or mean nothing.
            json.dumps(json.loads(body), ensure_ascii=False).encode()
        return json.loads(body, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except RecursionError as error:
        raise json.JSONDecodeError("it is nested too deeply", "", 0) from error
    except UnicodeError as error:
        raise json.JSONDecodeError("it is not UTF-8", "", 0) from error


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        _refuse(text)
    return number


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        _refuse(text)
    return int(text)


def _refuse(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant[:40]} is no number that can be kept", constant, 0)
