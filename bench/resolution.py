"""The resolution of the largest workflow: nodes a second, and bytes of what is stored.

All nodes of a workflow with several tasks, hooks and overrides are resolved, where many nodes are
equal, and where each one differs in a variable, a request and its retries. The time is CPU time of
one process. Stored are the event, or the blob where the event would be too long.
Run as ``python -m bench.resolution``.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pydantic_core import to_json

from bench.executions import settings
from trimtab.blobs.directory import DirectoryBlobStore
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import MAX_EVENT_BYTES, Resolution, pack, unpack
from trimtab.workflows.graphs.graph import MAX_NODES, Constant, FromNode, Hook, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab_propeller.executors.process import CAPABILITIES
from trimtab_propeller.resolution import check, prepare

GOAL = 20_000
ROUNDS = 5
TASKS, HOOKS = 8, 20


def overrides(**fields: object) -> NodeOverrides:
    return NodeOverrides.model_validate(fields)


def task(number: int) -> Task:
    resources = {"requests": {"cpu": f"{number + 1}00m", "memory": "1Gi"}}
    return Task(
        name=f"task{number}",
        config=overrides(resources=resources, environment={"TASK": f"{number}"}, retries=1),
    )


def node(number: int, *, different: bool) -> Node:
    own: dict[str, object] = {"environment": {"STAGE": f"s{number % 3}"}}
    if different:
        own = {
            "environment": {"INDEX": f"{number}"},
            "resources": {"requests": {"cpu": f"{1000 + number % 3000}m"}},
            "retries": number % 7,
        }
    hook = Hook(
        name=f"hook{number % HOOKS}",
        path=f"n{number // HOOKS}",
        default=overrides(retries=number % HOOKS),
    )
    return Node(
        id=f"n{number}",
        task=f"task{number % TASKS}",
        inputs={"x": FromNode(node=f"n{number - 1}") if number else Constant(value=1)},
        overrides=overrides(**own),
        hook=hook,
    )


def request(*, different: bool, nodes: int = MAX_NODES) -> Request:
    """Return a request of a chain of nodes whose hooks and tasks take turns."""
    workflow = Workflow(
        name="chain",
        version="v1",
        tasks={f"task{number}": task(number) for number in range(TASKS)},
        nodes=tuple(node(number, different=different) for number in range(nodes)),
        module="def step(x): return x\n",
    )
    plan = LaunchPlan(
        name="chain",
        workflow="chain",
        version="v1",
        environment={"PLAN": "nightly"},
        runtime_override={"hook3": overrides(interruptible=True)},
    )
    return Request(
        execution="e1",
        project="shop",
        domain="development",
        workflow=workflow,
        launch_plan=plan,
        overrides={"hook1": overrides(environment={"LEVEL": "debug"}, cache=True)},
        by_platform_admin=True,
    )


def seconds(work: Callable[[], object]) -> float:
    """Return the median of the CPU times of several calls."""

    def once() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return median(once() for _ in range(ROUNDS))


def measure(name: str, wanted: Request) -> Resolution:
    current, count = settings(), len(wanted.workflow.nodes)
    prepared = seconds(lambda: prepare(wanted, current, CAPABILITIES))
    taken = seconds(lambda: prepare(wanted, current, CAPABILITIES).resolve())
    print(
        f"{name:<40}{count / taken:>10,.0f} nodes/s  goal ≥ {GOAL:,}; {1000 * taken:.0f} ms, of "
        f"which {1000 * prepared:.1f} ms in the event loop"
    )
    return prepare(wanted, current, CAPABILITIES).resolve()


def sizes(name: str, resolution: Resolution) -> None:
    """Print the sizes of a resolution, and the CPU time to write and read it."""
    content = to_json(resolution.content())
    packed, nodes = pack(content), len(resolution.nodes)
    written = seconds(lambda: to_json(resolution.content()))
    compressed = seconds(lambda: pack(content))
    read = seconds(lambda: unpack(packed))
    plain = len(resolution.model_dump_json())
    is_inline = len(content) <= MAX_EVENT_BYTES
    stored = len(content) if is_inline else len(packed)
    where = "event" if is_inline else "blob"
    print(
        f"{name:<40}{stored / nodes:>10,.1f} bytes a node, in the {where}; {len(content):,} "
        f"bytes, {len(packed):,} compressed, all values of each node {plain:,}"
    )
    print(
        f"{'':<40}write {1000 * written:.0f} ms, compress {1000 * compressed:.0f} ms, "
        f"read {1000 * read:.0f} ms of CPU time"
    )


async def admitted(wanted: Request) -> float:
    """Return the seconds of an admission without the append: check, resolve, write and put."""
    current = settings()
    with TemporaryDirectory() as directory:
        store = DirectoryBlobStore(Path(directory))
        began = time.monotonic()
        check(wanted, CAPABILITIES)
        resolution = prepare(wanted, current, CAPABILITIES).resolve()
        content = to_json(resolution.content())
        if len(content) > MAX_EVENT_BYTES:
            await store.put(pack(content))
        taken = time.monotonic() - began
        store.close()
    return taken


def run() -> None:
    for different in (False, True):
        name = "all nodes differ" if different else "several tasks, hooks and overrides"
        wanted = request(different=different)
        sizes(name, measure(name, wanted))
        taken = median(asyncio.run(admitted(wanted)) for _ in range(ROUNDS))
        print(f"{'':<40}admit: check, resolve and store {1000 * taken:.0f} ms")


if __name__ == "__main__":
    run()
