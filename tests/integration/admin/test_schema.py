"""Every response of admin, to any request, is one that its OpenAPI document describes."""

import asyncio
import signal
import sys
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.integration.admin.running import TOKEN
from tests.integration.admin.test_process import environment, process
from tests.servers import PATIENCE_SECONDS, NatsServer
from trimtab.tokens.protocol import Blocked, PoolPage, PoolUse

# The checks that every valid body is accepted and every other one is refused are left out: whether
# a body is complete often depends on what is stored, and pydantic accepts false as a number.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "ignored_auth",
)
# Every wrong value of every part of these bodies would take as long as all other operations.
CONFIGURATION = """
[[operations]]
include-name = ["PUT /api/v2/records/{kind}", "POST /api/v2/workflows"]
phases.coverage.enabled = false
phases.fuzzing.generation.max-examples = 40
"""


POOL_PAGE = PoolPage(
    type="redis",
    pools=(
        PoolUse(
            pool="gpu",
            cohort="default",
            declared=True,
            active=True,
            declared_quota=2,
            quota=1,
            held=1,
            holding=1,
            waiting=1,
            blocked=Blocked(reason="quota", pool="gpu", by="a", since_seconds=1.5, demand=1),
        ),
    ),
    next="gpu",
)


async def reply_with_pools(message: Msg) -> None:
    """Reply as resmgr does, which does not run in this test."""
    await message.respond(POOL_PAGE.model_dump_json().encode())


async def test_every_response_is_one_that_the_document_describes(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    await client.subscribe("trimtab.resmgr.pools.*", cb=reply_with_pools)
    # Each operation is also called without a token, which must not be throttled.
    more = {"TRIMTAB_FAILED_TRIES_PER_MINUTE": "100000", "TRIMTAB_LOG_LEVEL": "ERROR"}
    variables = environment(tmp_path, nats_server.url, **more)
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    async with process(variables, signal.SIGTERM) as admin:
        await admin.post("/projects", json={"name": "shop"})
        ended = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{admin.base_url}openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}"),
            *("--checks", ",".join(CHECKS)),
            *("--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1"),
            *("--generation-database", "none"),
            *("--exclude-path", "/api/v2/watch"),  # its response does not end
            # The id of a pool's token has slashes, so this path is also one that PATCH accepts.
            *("--exclude-path", "/api/v2/pools/{name}/tokens/{token}/release"),
            *("--request-timeout", str(PATIENCE_SECONDS), "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        output = (await ended.communicate())[0].decode()
    assert ended.returncode == 0, output[-20_000:]
    assert " passed" in output
