"""Code of several modules, from its registration to the tasks of executions, on all services."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from tests.integration.all_services.conftest import DOMAIN, PROJECT
from tests.servers import PATIENCE_SECONDS
from tests.system import System
from trimtab import load_module
from trimtab.api.executions import ExecutionBody, ExecutionCreate, WorkflowBody
from trimtab.client import Client
from trimtab.workflows.graphs.node_overrides import NodeOverrides

PACKAGE = {
    "shop/__init__.py": "",
    "shop/names.txt": "model",
    "shop/settings.py": """
from pathlib import Path

KIND = Path(__file__).with_name("names.txt").read_text()
""",
    "shop/training.py": """
import os
import time

from shop.settings import KIND
from trimtab import task

@task(environment={"SEED": "1"})
def train(rows: int) -> str:
    return f"{KIND} {os.environ['SEED']} {rows}"

@task
def pause(seconds: float) -> None:
    time.sleep(seconds)
""",
    "shop/folds.py": """
from shop.training import train
from trimtab import workflow

@workflow
def fold(rows: int = 10) -> str:
    return train(rows=rows).with_runtime_override("trainer")
""",
    "shop/jobs.py": """
from shop.folds import fold
from shop.training import pause, train
from trimtab import task, workflow

@task
def join(first: str, second: str, third: str) -> str:
    return f"{first}, {second}, {third}"

@workflow
def pair(rows: int = 10) -> str:
    return join(first=fold(rows=rows), second=fold(rows=rows), third="")

@workflow
def job(rows: int = 10) -> str:
    return join(first=pair(rows=rows), second=fold(rows=rows), third=train(rows=rows))

@workflow
def rest(seconds: float = 3600.0) -> None:
    return pause(seconds=seconds).with_runtime_override("pauser")
""",
}
CALLER = """
from trimtab import reference_task, task, workflow

@reference_task(project="flyteexamples", domain="development", name="train", version="1")
def train(rows: int) -> str: ...

@task
def shout(text: str) -> str:
    return text.upper()

@workflow
def caller() -> str:
    return shout(text=train(rows=3))
"""


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


async def register(api: Client, path: Path) -> None:
    module = load_module(path, "1")
    if module.bundle is not None:
        await api.blobs.put(PROJECT, DOMAIN, module.bundle.content)
    for workflow in module.workflows:
        body = WorkflowBody(project=PROJECT, domain=DOMAIN, workflow=workflow)
        await api.workflows.create(body)


async def run(api: Client, workflow: str, **overrides: Any) -> ExecutionBody:
    given = {hook: NodeOverrides.model_validate(fields) for hook, fields in overrides.items()}
    request = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow=workflow, overrides=given)
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        return await api.executions.wait((await api.executions.create(request)).id)


async def test_a_package_of_several_modules_runs_with_overrides_and_without_its_cache(
    system: System, api: Client, tmp_path: Path
) -> None:
    await register(api, write(tmp_path / "package", PACKAGE))
    await register(api, write(tmp_path, {"caller.py": CALLER}) / "caller.py")

    by_hook = {
        "trainer": {"environment": {"SEED": "all"}},
        "n0/n1/trainer": {"environment": {"SEED": "one"}},
    }
    cache = system.directory / "executions" / "bundles"
    running = asyncio.create_task(run(api, "job", **by_hook))
    while not running.done():
        await asyncio.to_thread(shutil.rmtree, cache, ignore_errors=True)
        await asyncio.sleep(0)
    ended = await running
    assert ended.output == "model all 10, model one 10, , model all 10, model 1 10", ended.error

    referenced = await run(api, "caller")
    assert referenced.output == "MODEL 1 3", referenced.error

    timed_out = await run(api, "rest", pauser={"timeout_seconds": 1})
    assert timed_out.phase == "failed"
    assert "timed out after 1 s" in timed_out.error
