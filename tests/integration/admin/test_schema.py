"""admin against its own OpenAPI document: whatever is sent, the answer is one that it describes."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.admin.running import TOKEN
from tests.integration.admin.test_process import environment, process
from tests.servers import NatsServer

# Not those that each valid body is taken and each other one refused: what a body lacks is often
# known to the database alone, and pydantic takes false where a number is wanted.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "ignored_auth",
)
# Each part of their bodies in each wrong way would be as much as all the rest.
CONFIGURATION = """
[[operations]]
include-name = ["PUT /api/v2/records/{kind}", "POST /api/v2/workflows"]
phases.coverage.enabled = false
phases.fuzzing.generation.max-examples = 40
"""


@pytest.mark.timeout(240)
async def test_whatever_is_sent_is_answered_as_described(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    # Calls without a token are tried at every path, and need not wait.
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
            *("--exclude-path", "/api/v2/watch"),  # its answer does not end
            # Ids of tokens hold slashes, so this is also the path of a token that can be patched.
            *("--exclude-path", "/api/v2/pools/{name}/tokens/{token}/release"),
            *("--request-timeout", "30", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        told = (await ended.communicate())[0].decode()
    assert ended.returncode == 0, told[-20_000:]
    assert " passed" in told
