"""Random executions with random settings, and digests of their resolutions.

``python -m tests.unit.propeller.random_executions 40`` prints the digests of so many, one a line:
another process, with another order of sets and with nothing cached, has to print the same ones.
"""

import hashlib
import json
import random
import sys
from typing import Any

from tests.unit.propeller.building import node, overrides, record, request, settings
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import ClusterChanged, Event, PoolChanged, ProjectChanged, QueueChanged
from trimtab.messages.executions import Request
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, PlanCall
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import Site, resolve

EXECUTOR = Capabilities("any", ("labels", "resources.limits"), plugins=("pod", "ray"))
SITE = Site(queueing_budgets={"HIGH": 60.0}, default_tier="HIGH")
CALLED = Scope("production", "billing", "monthly")
SCOPES = (
    *(PLATFORM, Scope("development"), Scope("", "shop"), Scope("development", "shop")),
    *(Scope("development", "shop", "nightly"), Scope("production", "billing"), CALLED),
)
TAGS = ("gpu", "spot", "batch")


def make(seed: int) -> tuple[Request, Settings]:
    """Return a request and settings, the same ones for a seed in every process."""
    chance = random.Random(seed)
    return _request(chance), settings(*_events(chance))


def digest(seed: int) -> str:
    """Return the digest of the resolution, or the refusal."""
    wanted, known = make(seed)
    try:
        content = resolve(wanted, known, EXECUTOR, SITE).content()
    except Refusal as refusal:
        return f"refused: {refusal}"
    # The order of keys counts.
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _some(chance: random.Random, *names: str) -> list[str]:
    return chance.sample(names, chance.randint(1, len(names)))


def _texts(chance: random.Random) -> dict[str, str]:
    values = ("a", "b", "{{ project }}", "x-{{ execution }}")
    return {key: chance.choice(values) for key in _some(chance, "A", "team", "x.org/a", "B")}


def _amounts(chance: random.Random) -> dict[str, str]:
    return {r: str(chance.randint(1, 3)) for r in _some(chance, "cpu", "memory", "gpu")}


def _documents(chance: random.Random) -> dict[str, dict[str, Any]]:
    variables = {key: text for key, text in _texts(chance).items() if "/" not in key}
    return {
        "workflow_execution_config": {
            "labels": _texts(chance),
            "annotations": _texts(chance),
            "envs": variables,
            "max_parallelism": chance.randint(1, 9),
            "interruptible": chance.random() < 0.5,
            "security_context": {"secrets": [{"group": name} for name in _some(chance, "a", "b")]},
        },
        "task_resource": {"defaults": _amounts(chance)},
        "execution_queue": {"tags": _some(chance, *TAGS)},
        "plugin_override": {
            "overrides": {
                type_: {
                    "plugin_id": _some(chance, "ray", "pod", "dask"),
                    "missing_plugin_behavior": chance.choice(["FAIL", "USE_DEFAULT"]),
                }
                for type_ in _some(chance, "python", "spark")
            }
        },
        "quality_of_service": {"tier": chance.choice(["HIGH", "LOW"])},
        "workflow_priority": {"priority": chance.randint(0, 9)},
        "execution_cluster_label": {"value": chance.choice(["big", "small"])},
        "pod_policy": {"cluster_labels": ["big", "small"]},
    }


def _events(chance: random.Random) -> list[Event]:
    events: list[Event] = [
        ProjectChanged(name="shop", labels=dict.fromkeys(_some(chance, "A", "team", "z"), "v")),
        PoolChanged(name="warehouse", quota=2),
    ]
    for name in "abcd":
        events.append(
            ClusterChanged(
                name=name,
                labels=tuple(_some(chance, "big", "small")),
                weight=chance.randint(1, 3),
                enabled=chance.random() < 0.8,
            )
        )
        events.append(QueueChanged(name=f"q{name}", attributes=tuple(_some(chance, *TAGS))))
    for scope in SCOPES:
        documents = _documents(chance)
        for kind in _some(chance, *documents):
            events.append(record(kind, documents[kind], scope))
    chance.shuffle(events)
    return events


def _overrides(chance: random.Random) -> Any:
    fields: dict[str, Any] = {
        "retries": chance.randint(0, 3),
        "environment": dict.fromkeys(_some(chance, "A", "B", "C"), "1"),
        "task_config": dict.fromkeys(_some(chance, "a", "b", "c"), 1),
        "resources": {"requests": _amounts(chance)},
        "interruptible": chance.random() < 0.5,
    }
    return overrides(**{name: fields[name] for name in _some(chance, *fields)})


def _request(chance: random.Random) -> Request:
    calls = {
        f"c{number}": PlanCall(
            project="billing",
            domain="production",
            workflow="monthly",
            launch_plan=chance.choice(["monthly", "other"]),
            config=ExecutionConfig(environment={"A": "called"}, interruptible=True),
            parent=chance.choice(["", "c0"]) if number else "",
        )
        for number in range(2)
    }
    nodes = [
        node(
            f"n{number}",
            compiled=_overrides(chance),
            hook=chance.choice(["", f"h{number}"]),
            default=_overrides(chance),
        ).model_copy(update={"plan": chance.choice(["", *calls])})
        for number in range(chance.randint(1, 12))
    ]
    hooks = {each.hook.name for each in nodes if each.hook is not None}
    wanted = request(
        *nodes,
        task=_overrides(chance),
        pool=chance.choice([None, "warehouse"]),
        plan={"environment": {"A": "plan"}, "labels": {"B": "plan"}},
        overrides={name: _overrides(chance) for name in sorted(hooks)},
        labels={"team": "mine"},
        execution=f"e{chance.randint(0, 99)}",
    )
    return wanted.model_copy(
        update={"workflow": wanted.workflow.model_copy(update={"plans": calls})}
    )


if __name__ == "__main__":
    for each in range(int(sys.argv[1])):
        print(digest(each))  # noqa: T201  # the output of the command
