"""The page at the root, which a person opens who has nothing but the address."""

import re

import httpx
import pytest

from tests.integration.admin.running import TOKEN

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = {"Authorization": "", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/", "/api/v2"])
async def test_a_browser_without_a_token_gets_a_page_about_this_system(
    shared: httpx.AsyncClient, path: str
) -> None:
    response = await shared.get(f"http://127.0.0.1{path}", headers=BROWSER)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    for word in ("Trimtab", "/api/v2/openapi.json", "trimtab token create", "TRIMTAB_TOKEN"):
        assert word in response.text
    assert TOKEN not in response.text


async def test_the_page_loads_and_runs_nothing(shared: httpx.AsyncClient) -> None:
    response = await shared.get("http://127.0.0.1/", headers=BROWSER)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script|<link|<img|<form| href| src| on\w+=|url\(", response.text)


async def test_a_program_gets_the_same_as_json(shared: httpx.AsyncClient) -> None:
    headers = {"Authorization": "", "Accept": "application/json"}
    found = (await shared.get("http://127.0.0.1/", headers=headers)).json()
    assert (found["name"], found["api"]) == ("Trimtab", "/api/v2")
    assert (await shared.get(f"http://127.0.0.1{found['openapi']}")).status_code == 200


async def test_the_page_of_another_host_name_is_refused(shared: httpx.AsyncClient) -> None:
    headers = {**BROWSER, "Host": "evil.example"}
    assert (await shared.get("http://127.0.0.1/", headers=headers)).status_code == 403


async def test_the_page_is_only_read(shared: httpx.AsyncClient) -> None:
    response = await shared.post("http://127.0.0.1/", json={})
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
