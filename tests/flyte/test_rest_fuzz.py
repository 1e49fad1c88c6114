"""Random requests at the REST door: none breaks admin, and it serves afterwards."""

import random
import socket
import sys
from collections import Counter

import pytest

from tests.flyte.admins import TOKEN, Admin
from tests.servers import PATIENCE_SECONDS

REQUESTS = 2000
SEED = random.SystemRandom().randrange(2**32)

_METHODS = ("GET", "PUT", "DELETE", "POST", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO")
_PATHS = (
    "projects",
    "projects/shop",
    "projects/",
    "domains",
    "version",
    "matchable_attributes",
    "project_attributes/shop",
    "project_domain_attributes/shop/development",
    "workflow_attributes/shop/development/nightly",
    "named_entities/1/shop/development",
    "executions/shop/development/x",
    "openapi",
)
_QUERIES = (
    "resource_type=3",
    "resourceType=CLUSTER_RESOURCE",
    "limit=2&token=x",
    "sort_by.key=name&sort_by.direction=UP",
    "filters=eq(name,%27)",
    "labels.values[a]=b",
    "org=%ff&;a=b&&=&%zz",
)
_BODIES = (
    b"",
    b"null",
    b"{}",
    b'{"attributes":{"matching_attributes":{"execution_cluster_label":{"value":"gpu"}}}}',
    b'{"attributes":{"matchingAttributes":{"taskResourceAttributes":{"defaults":{"cpu":"1"}}}}}',
    b'{"attributes":{"matching_attributes":{"workflow_execution_config":{"max_parallelism":7,'
    b'"labels":{"values":{"a":"b"}},"envs":{"values":[{"key":"A","value":"\\u00e9"}]},'
    b'"execution_env_assignments":[{"execution_env":{"spec":{"a":[1,null]}}}]}}}}',
    b'{"project":{"id":"p-1","name":"n","labels":{"values":{"x":"y"}}}}',
    b'{"resource_type":3}',
    b"resource_type=3&%zz",
    b"\x0a\x04shop\x10\x03",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"[" * 20_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"attributes":{"matching_attributes":{"cluster_resource_attributes":{"attributes":{"a":"'
    + b"x" * 70_000
    + b'"}}}}}',
    b'{"a":' + b"9" * 10_000 + b"}",
)
_TYPES = (
    "application/json",
    "application/json; charset=\xff",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "text/plain",
    "",
    ";;",
)
_HEADERS = (
    ("Accept", "application/json"),
    ("Accept", "application/octet-stream"),
    ("Accept", "*"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-HTTP-Method-Override", "\u00e9"),
    ("Grpc-Timeout", "1S"),
    ("Grpc-Timeout", "99999999999999999H"),
    ("Grpc-Timeout", "-"),
    ("Content-Encoding", "gzip"),
    ("Expect", "100-continue"),
    ("Transfer-Encoding", "gzip"),
    ("Content-Length", "3"),
    ("Upgrade", "websocket"),
    ("X-Request-Id", "a" * 300),
    ("Authorization", "Bearer wrong"),
)
_JUNK = b'\0\r\n\t "%{}[],:/\\?#;&=.\xff\xc3\x28aA09-+eE'


@pytest.fixture
def dice() -> random.Random:
    return random.Random(SEED)


def _mutated(content: bytes, dice: random.Random) -> bytes:
    """Return the bytes with a few of them removed, changed, repeated or added."""
    result = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at = dice.randint(0, len(result))
        match dice.randrange(4):
            case 0:
                del result[at : at + dice.randint(1, 3)]
            case 1:
                result.insert(at, dice.choice(_JUNK))
            case 2:
                result[at : at + 1] = bytes([dice.randrange(256)])
            case _:
                result[at:at] = result[at : at + dice.randint(1, 50)]
    return bytes(result)


def _maybe(content: bytes, dice: random.Random, *, chance: float = 0.4) -> bytes:
    return _mutated(content, dice) if dice.random() < chance else content


def _request(dice: random.Random) -> bytes:
    """Return a request, of which any part may be malformed; its connection is to be closed."""
    path = _maybe(f"/api/v1/{dice.choice(_PATHS)}".encode(), dice, chance=0.3)
    if dice.random() < 0.5:
        path += b"?" + _maybe(dice.choice(_QUERIES).encode(), dice)
    body = _maybe(dice.choice(_BODIES), dice)
    headers = [("Host", "127.0.0.1"), ("Connection", "close"), ("Authorization", f"Bearer {TOKEN}")]
    if dice.random() < 0.8:
        headers.append(("Content-Type", dice.choice(_TYPES)))
    headers += dice.sample(_HEADERS, dice.choice((0, 0, 1, 2)))
    is_chunked = dice.random() < 0.3
    headers.append(
        ("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", f"{len(body)}")
    )
    lines = [f"{name}: {value}".encode("latin-1") for name, value in headers]
    if dice.random() < 0.05:
        lines = [_maybe(line, dice, chance=0.2) for line in lines]
    head = b" ".join([dice.choice(_METHODS).encode(), path, b"HTTP/1.1"])
    content = _chunks(body, dice) if is_chunked else body
    return b"\r\n".join([head, *lines, b"", content])


def _chunks(body: bytes, dice: random.Random) -> bytes:
    chunks, at = b"", 0
    while at < len(body):
        part = body[at : at + dice.randint(1, 20_000)]
        chunks += b"%x\r\n%s\r\n" % (len(part), part)
        at += len(part)
    return _maybe(chunks + b"0\r\n\r\n", dice, chance=0.1)


def _status(admin: Admin, request: bytes) -> int | None:
    """Send a request and nothing after it; return the status, ``None`` where there is none."""
    with socket.create_connection(("127.0.0.1", admin.port), PATIENCE_SECONDS) as connection:
        received = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65_536):
                received += part
        except ConnectionError:
            pass  # the server may refuse a request before it has all of it
    statuses = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return int(statuses[-1].split()[1]) if statuses else None


def _is_expected(status: int | None, request: bytes) -> bool:
    """Return whether a status is no failure of the server: 501 is that of a wrong method."""
    return status is None or status < 500 or status == 501 or _is_late(status, request)


def _is_late(status: int, request: bytes) -> bool:
    return status == 504 and b"Grpc-Timeout" in request


def test_no_request_breaks_the_door(
    admin: Admin, dice: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    with admin.client() as client:
        client.post("/api/v2/projects", json={"name": "shop"})
        statuses: Counter[int | None] = Counter()
        for number in range(REQUESTS):
            request = _request(dice)
            status = _status(admin, request)
            statuses[status] += 1
            assert _is_expected(status, request), f"seed {SEED}, request {number}: {request!r}"
        found = client.get("/api/v1/projects/shop").json()
    with capsys.disabled():
        sys.stdout.write(f"\nseed {SEED}: {dict(statuses.most_common())}\n")
    assert found["id"] == "shop"
    # Most requests arrive at the door, and some of them are valid.
    assert statuses[200] > REQUESTS / 50
    assert statuses[400] > REQUESTS / 10
    failures = [line for line in admin.log().splitlines() if "call.failed" in line]
    assert not failures, failures[0]
