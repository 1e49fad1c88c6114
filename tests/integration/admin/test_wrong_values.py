"""A value of the wrong type, anywhere in any operation, is an error that names the field in JSON's
words."""

import base64
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.integration.admin.running import execute, register, workflow

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRONG: tuple[Any, ...] = (None, True, -1, 1.5, 2**63, "", "a b", [], [None], {"x": None})
PATH = {"kind": "task_resource", "project": "shop", "domain": "development", "sequence": "1"}
ENDLESS = ("/watch", "/events")
PYTHON = re.compile(
    r"\b(tuple|dict|dictionary|mapping|None|True|False|str|int|bool|float|Decimal|frozenset|model|"
    r"instance|Input|discriminator|tagged|datetime|literal|bytes|class)\b"
)
MARKER = re.compile(r"[\[\]()<>]|function|tagged|constrained|literal")
"""Steps that pydantic adds to the path of a field."""

Operation = tuple[str, str, dict[str, Any]]
Json = dict[str, Any]


def problem_with(response: httpx.Response) -> str:
    """Return what is wrong with the response; empty where it is a success or a clear error."""
    if response.status_code < 400:
        return ""
    if response.headers["content-type"] != "application/problem+json":
        return "is no problem"
    found = response.json()
    # resmgr does not run here.
    if found["status"] >= 500 and not found["detail"].startswith("resmgr does not answer"):
        return "is an error of the server"
    if found["status"] != 400:
        return ""
    if not found.get("path") or MARKER.search(found["path"]):
        return "names no field"
    words = found["detail"].replace("If-None-Match", "")
    return "has words of Python" if PYTHON.search(words) else ""


async def test_a_wrong_value_is_an_error_that_names_the_field_in_words_of_json(
    shared: httpx.AsyncClient,
) -> None:
    await register(shared, workflow())
    await execute(shared)
    document = (await shared.get("/openapi.json")).json()
    wrong = []
    for method, path, operation in operations(document):
        for place, value, request in requests(document, path, operation):
            response = await shared.request(method, **request)
            if what := problem_with(response):
                text = response.text[:300]
                wrong.append(f"{method} {path} {place}={json.dumps(value)[:30]} {what}: {text}")
    assert wrong == [], "\n".join(wrong)


@pytest.mark.parametrize("number", [2**63, -1, 10**40])
@pytest.mark.parametrize("path", ["/watch", "/executions/{id}/events"])
async def test_a_stream_begins_at_no_number_that_a_database_cannot_store(
    shared: httpx.AsyncClient, path: str, number: int
) -> None:
    await register(shared, workflow(f"{path}-{number}"))
    url = path.format(id=(await execute(shared)).json()["id"])
    for name, request in (
        ("since", {"params": {"since": str(number)}}),
        ("last-event-id", {"headers": {"Last-Event-ID": str(number)}}),
    ):
        response = await shared.get(url, **request)
        assert (response.status_code, response.json()["path"]) == (400, name)


@pytest.mark.parametrize(
    "key", [[2**63], [True], [-(2**63)], ["\0"], ["\ud800"], ["k", 1, "\0"], [None], [[1]], {}, "x"]
)
async def test_a_page_begins_behind_no_key_that_a_database_cannot_store(
    shared: httpx.AsyncClient, key: Any
) -> None:
    token = base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")
    for path in ("/history", "/records", "/dead", "/pool-usage", "/records/task_resource/history"):
        response = await shared.get(path, params={"token": token})
        assert (response.status_code, response.json()["path"]) == (400, "token")


async def test_a_page_token_of_many_levels_is_a_wrong_one(shared: httpx.AsyncClient) -> None:
    token = base64.urlsafe_b64encode(b"[" * 2900).decode().rstrip("=")
    assert (await shared.get("/history", params={"token": token})).status_code == 400


def operations(document: Json) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not path.endswith(ENDLESS):
                yield method.upper(), path.removeprefix("/api/v2"), operation


def requests(document: Json, path: str, operation: Json) -> Iterator[tuple[str, Any, Json]]:
    """Yield requests with one wrong value, and its place."""
    parameters = operation.get("parameters", [])
    forced = {"force": "true"} if any(each["name"] == "force" for each in parameters) else {}
    body = operation.get("requestBody")
    right: Json = {"url": fill(path, PATH), "params": forced}
    if body is not None and "application/json" in body["content"]:
        right["json"] = example(body["content"]["application/json"]["schema"], document)
    elif body is not None:
        right |= {"content": b"x", "headers": {"Content-Type": next(iter(body["content"]))}}
    for parameter in parameters:
        for value in WRONG:
            yield parameter["name"], value, with_parameter(path, right, parameter, text_of(value))
    for place in places(right["json"]) if "json" in right else ():
        for value in WRONG:
            name = ".".join(map(str, place)) or "body"
            yield name, value, {**right, "json": replaced(right["json"], place, value)}


def with_parameter(path: str, right: Json, parameter: Json, text: str) -> Json:
    name = parameter["name"]
    match parameter["in"]:
        case "query":
            return {**right, "params": {**right["params"], name: text}}
        case "header":
            return {**right, "params": {}, "headers": {name: text}}
        case _:
            return {**right, "url": fill(path, {**PATH, name: quote(text, safe="")})}


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def fill(path: str, values: dict[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda match: values.get(match[1], "nightly"), path)


def places(value: Any, place: tuple[int | str, ...] = ()) -> Iterator[tuple[int | str, ...]]:
    yield place
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for step, each in inner:
        yield from places(each, (*place, step))


def replaced(value: Any, place: tuple[int | str, ...], new: Any) -> Any:
    if not place:
        return new
    copy = deepcopy(value)
    holder = copy
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = new
    return copy


def example(schema: Json, document: Json, depth: int = 0) -> Any:
    """Return a value of the schema with all of its fields; a recursive one ends at a depth."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example(document["components"]["schemas"][name], document, depth + 1)
    for choice in ("anyOf", "oneOf", "enum"):
        if choice in schema:
            first = schema[choice][0]
            return first if choice == "enum" else example(first, document, depth + 1)
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "object" if "properties" in schema:
            fields = schema["properties"].items()
            return {name: example(each, document, depth + 1) for name, each in fields}
        case "object":
            each = schema.get("additionalProperties")
            has_type = isinstance(each, dict) and depth < 12
            return {"k": example(each, document, depth + 1)} if has_type else {}
        case "array":
            return [example(schema["items"], document, depth + 1)] if depth < 12 else []
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case "string" if schema.get("format") == "date-time":
            return "2030-01-01T00:00:00Z"
        case _:
            return "x"
