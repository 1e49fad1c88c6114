"""Tasks whose code is a bundle of modules, in the executor ``process`` without a propeller."""

import asyncio
import shutil
import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.integration.propeller.executor_contract import attempt
from tests.integration.propeller.harness import data_next_to
from tests.servers import PATIENCE_SECONDS
from trimtab.blobs.port import digest_of, missing
from trimtab.errors import Unavailable
from trimtab.workflows.code.archives import pack
from trimtab.workflows.graphs.targets import Function
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.confinement import Confinement
from trimtab_propeller.executors.port import (
    Absent,
    AttemptRejected,
    ExecutorUnavailable,
    Failed,
    Outcome,
    Returned,
)
from trimtab_propeller.executors.process import BUNDLES, ProcessExecutor

TASKS = b"""
import json, os, subprocess, sys, wave
from pathlib import Path
from trimtab import task
from shop import prices
from shop.prices import vat

left_open = open("left-open", "w")

@task
def total(net):
    left_open.write("flushed")
    return {"total": vat(net), "file": prices.__file__, "cwd": sorted(os.listdir())}

@task
def standard():
    # As processes that a task starts find modules.
    code = "import sys, wave, shop; print(wave.__file__)"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.check_output([sys.executable, "-c", code], env=variables, text=True)
    return [wave.__file__, child.strip()]

@task
def fails():
    return prices.broken()

@task
def readable(paths):
    found = []
    for path in paths:
        try:
            os.listdir(path) if Path(path).is_dir() else open(path).close()
        except OSError:
            continue
        found.append(path)
    return found
"""
PRICES = b"""
RATE = 2

def vat(net):
    return RATE * net

def broken():
    raise KeyError("price")
"""
CODE = pack(
    {
        "shop/__init__.py": b"",
        "shop/tasks.py": TASKS,
        "shop/prices.py": PRICES,
        "wave.py": b"raise RuntimeError('not of the standard library')",
    }
)
OWN_INTERPRETER = {"PYTHONHASHSEED": "1"}
"""Variables of a task that is not forked from the server."""


class Store:
    def __init__(self) -> None:
        self.blobs = {digest_of(CODE): CODE}
        self.fetched = 0
        self.is_down = False

    async def get(self, digest: str) -> bytes:
        self.fetched += 1
        if self.is_down:
            raise Unavailable("no answer")
        if digest not in self.blobs:
            raise missing(digest)
        return self.blobs[digest]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_next_to(tmp_path)


@pytest.fixture
def executor(data: Path, store: Store, tmp_path: Path) -> Iterator[ProcessExecutor]:
    confinement = replace(Confinement.of_this_kernel(), writable=(str(tmp_path),))
    made = ProcessExecutor(data, confinement=confinement, fetch_bundle=store.get)
    yield made
    made.close()


def bundled(
    task: str,
    number: int = 0,
    code: bytes = CODE,
    environment: dict[str, str] | None = None,
    **inputs: JsonValue,
) -> Attempt:
    fields = {
        "module": "",
        "bundle": digest_of(code),
        "target": Function(module="shop.tasks", name=task),
    }
    return attempt(task, number, environment, **inputs).model_copy(update=fields)


async def outcome(executor: ProcessExecutor, wanted: Attempt) -> Outcome:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await executor.start(wanted)
        return await executor.wait(wanted)


@pytest.mark.parametrize("environment", [{}, OWN_INTERPRETER], ids=["forked", "own interpreter"])
async def test_a_task_imports_its_modules_from_its_own_directory(
    executor: ProcessExecutor, environment: dict[str, str]
) -> None:
    wanted = bundled("total", environment=environment, net=21)
    found = await outcome(executor, wanted)
    work = executor.directory(wanted) / "work"
    assert found == Returned(
        {
            "total": 42,
            "file": str(work / "code" / "shop" / "prices.py"),
            "cwd": ["code", "left-open", "task.json"],
        }
    )
    assert (work / "left-open").read_text() == "flushed"


async def test_a_file_of_the_code_replaces_no_module_of_the_standard_library(
    executor: ProcessExecutor,
) -> None:
    assert await outcome(executor, bundled("standard")) == Returned(2 * [wave.__file__])


async def test_the_code_of_an_attempt_is_removed_at_its_end(executor: ProcessExecutor) -> None:
    wanted = bundled("fails")
    assert await outcome(executor, wanted) == Failed("KeyError: 'price' (shop/prices.py, line 8)")
    left = {path.name for path in (executor.directory(wanted) / "work").iterdir()}
    assert left == {"left-open", "task.json"}


async def test_a_task_reads_neither_the_cache_nor_the_code_of_others(
    executor: ProcessExecutor, data: Path
) -> None:
    if executor.capabilities.isolation.missing:
        pytest.skip("tasks are not isolated by this kernel")
    other = bundled("fails", 1)
    await outcome(executor, other)
    own = executor.directory(bundled("readable")) / "work"
    hidden = [data / BUNDLES, data / BUNDLES / digest_of(CODE), executor.directory(other) / "work"]
    paths = [str(path) for path in (own, *hidden)]
    assert await outcome(executor, bundled("readable", paths=paths)) == Returned([str(own)])


async def test_attempts_start_while_the_cache_is_deleted(
    executor: ProcessExecutor, store: Store, data: Path
) -> None:
    running = asyncio.gather(
        *(outcome(executor, bundled("total", number, net=number)) for number in range(24))
    )
    while not running.done():
        await asyncio.to_thread(shutil.rmtree, data / BUNDLES, ignore_errors=True)
    totals = [each.output["total"] for each in await running]
    assert totals == [2 * number for number in range(24)]
    assert store.fetched > 1


async def test_code_that_is_missing_names_the_remedy_and_starts_nothing(
    executor: ProcessExecutor, store: Store
) -> None:
    store.blobs.clear()
    wanted = bundled("total", net=1)
    for call in (executor.fetch, executor.start):
        with pytest.raises(AttemptRejected, match="does not exist; register what names it again"):
            await call(wanted)
    store.is_down = True
    for call in (executor.fetch, executor.start):
        with pytest.raises(ExecutorUnavailable, match="the code cannot be fetched: no answer"):
            await call(wanted)
    assert await executor.find(wanted) == Absent()


async def test_what_was_fetched_or_started_before_needs_no_store(
    executor: ProcessExecutor, store: Store, data: Path
) -> None:
    wanted, next_one = bundled("total", net=1), bundled("total", 1, net=2)
    await executor.fetch(wanted)
    store.is_down = True
    assert isinstance(await outcome(executor, wanted), Returned)
    await executor.fetch(next_one)
    assert isinstance(await outcome(executor, next_one), Returned)
    shutil.rmtree(data / BUNDLES)
    assert isinstance(await outcome(executor, wanted), Returned)
    assert store.fetched == 1


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"no archive", "archive"),
        (pack({"other.py": b""}), "No module named 'shop'"),
        (pack({"shop/tasks.py": b"x = 1"}), "module shop.tasks defines no task 'total'"),
        (pack({"shop/tasks.py": b"raise SystemExit(3)"}), "SystemExit: 3 (shop/tasks.py, line 1)"),
        (pack({"shop/tasks.py": b"\n1 +"}), "(shop/tasks.py, line 2)"),
    ],
)
async def test_code_that_cannot_be_used_fails_the_attempt_with_the_reason(
    executor: ProcessExecutor, store: Store, content: bytes, error: str
) -> None:
    store.blobs[digest_of(content)] = content
    found = await outcome(executor, bundled("total", code=content, net=1))
    assert isinstance(found, Failed)
    assert error in found.error
