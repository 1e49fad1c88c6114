"""Tests of doors: the middleware of the API surrounds them, and they render errors themselves."""

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from trimtab.errors import TrimtabError, Unauthorized
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.access.call import Call
from trimtab_admin.api.middleware import AccessMiddleware, CallMiddleware

HOST = "http://127.0.0.1"


class Access:
    """Accepts one credential."""

    async def authenticate(self, call: Call, authorization: str) -> Call:
        if authorization != "Bearer right":
            raise Unauthorized("no token")
        return replace(call, caller=ROOT)

    async def refuse(self, call: Call, error: TrimtabError) -> TrimtabError:
        return error


class Door:
    name = "old"

    def serves(self, path: str) -> bool:
        return path.startswith("/old/")

    def is_open(self, scope: Scope) -> bool:
        return str(scope["path"]).endswith("/open")

    def error(self, scope: Scope, error: TrimtabError) -> ASGIApp:
        return PlainTextResponse(f"old: {error}", error.code.http_status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = SimpleNamespace(path="/old/{name}")
        if scope["path"].endswith("/broken"):
            raise RuntimeError("the disk is on fire")
        text = f"{scope['state']['call'].caller.name} {scope['path']}"
        await PlainTextResponse(text)(scope, receive, send)


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("api")(scope, receive, send)


@pytest.fixture
def client() -> httpx.AsyncClient:
    app: Any = api
    for cls, args, more in reversed(
        [
            Middleware(CallMiddleware, [Door()]),
            Middleware(AccessMiddleware, Access(), loopback_only=True),
        ]
    ):
        app = cls(app, *args, **more)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST)


RIGHT = {"Authorization": "Bearer right"}


async def test_a_door_serves_its_paths_to_authenticated_callers(client: httpx.AsyncClient) -> None:
    assert (await client.get("/old/a", headers=RIGHT)).text == "root /old/a"
    assert (await client.get("/new/a", headers=RIGHT)).text == "api"


async def test_an_open_request_needs_no_credential(client: httpx.AsyncClient) -> None:
    assert (await client.get("/old/open")).text == " /old/open"


async def test_a_door_renders_errors_before_and_within_it(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    refused = await client.get("/old/a")
    assert (refused.status_code, refused.text) == (401, "old: no token")
    elsewhere = await client.get("/old/a", headers={"Origin": "http://elsewhere", **RIGHT})
    assert (elsewhere.status_code, elsewhere.text[:4]) == (403, "old:")
    with caplog.at_level(logging.CRITICAL):
        broken = await client.get("/old/broken", headers={"X-Request-Id": "r-1", **RIGHT})
    assert (broken.status_code, broken.text[:4]) == (500, "old:")
    assert broken.headers["x-request-id"] == "r-1"
    assert "fire" not in broken.text


async def test_a_door_sees_what_the_api_would_reject(client: httpx.AsyncClient) -> None:
    assert (await client.get("/old/%zz", headers=RIGHT)).status_code == 200
    assert (await client.get("/new/%zz", headers=RIGHT)).status_code == 400
