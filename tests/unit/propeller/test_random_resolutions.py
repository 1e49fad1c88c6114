"""Whole resolutions of random settings and requests, compared with an oracle."""

from typing import Any

import hypothesis
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.propeller import resolution_oracle as oracle
from tests.unit.propeller.building import overrides, record, settings
from tests.unit.propeller.resolution_oracle import Part, Refused, World
from trimtab import kinds
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import Event, ProjectChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan, PlanCall
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

OWN = Scope("development", "shop", "nightly", "fast")
CALLED = Scope("development", "lab", "training", "small")
SHARED = ("platform", "domain")
NARROW = ("project", "project_domain", "workflow", "launch_plan")
KEYS = st.sampled_from(["a", "b"])
WORDS = st.sampled_from(["", "x", "y"])
AMOUNTS = st.sampled_from(["1", "2", "4"])


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def maps() -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(KEYS, WORDS, min_size=1)


@st.composite
def with_unset(
    draw: st.DrawFn, documents: st.SearchStrategy[dict[str, Any]], paths: tuple[str, ...]
) -> dict[str, Any]:
    """Draw a document whose ``unset`` lists paths that have no value in it."""
    document = draw(documents)
    chosen = draw(st.sets(st.sampled_from(paths), max_size=1))
    unset = [path for path in chosen if path.split(".")[0] not in document]
    return document | ({"unset": unset} if unset else {})


RECORDS = optional(
    workflow_execution_config=with_unset(
        optional(
            labels=maps(),
            annotations=maps(),
            envs=maps(),
            interruptible=st.booleans(),
            overwrite_cache=st.booleans(),
            max_parallelism=st.integers(1, 3),
        ),
        ("labels", "labels.a", "envs", "envs.b", "interruptible", "max_parallelism"),
    ),
    task_resource=with_unset(
        optional(
            defaults=st.fixed_dictionaries({"cpu": AMOUNTS}),
            limits=st.fixed_dictionaries({"cpu": AMOUNTS}),
            minimum=st.fixed_dictionaries({"cpu": AMOUNTS}),
            over_limit=st.sampled_from(["refuse", "clamp"]),
            mirror_limits_request=st.booleans(),
        ),
        ("defaults", "limits.cpu", "minimum", "over_limit"),
    ),
    workflow_priority=with_unset(optional(priority=st.integers(-1, 1)), ("priority",)),
)
FOR_ALL = {"environment": maps(), "interruptible": st.booleans()}
WHOLE = {
    "labels": maps(),
    "annotations": maps(),
    "max_parallelism": st.integers(1, 3),
    "overwrite_cache": st.booleans(),
}
CONFIG = optional(**FOR_ALL, **WHOLE)
OF_NODE = optional(
    **FOR_ALL,
    retries=st.integers(0, 2),
    resources=optional(requests=st.integers(0, 5), limits=st.integers(0, 5)),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    shared = [(name, draw(RECORDS)) for name in SHARED]

    def part() -> Part:
        chain = [*shared, *((name, draw(RECORDS)) for name in NARROW)]
        return Part(chain, draw(CONFIG), draw(st.dictionaries(KEYS, WORDS)))

    world = World(part(), part(), draw(CONFIG), draw(OF_NODE), draw(OF_NODE))
    hypothesis.assume(all(is_storable(part) for part in (world.own, world.called)))
    return world


def is_storable(part: Part) -> bool:
    """Whether no scope of the chain has a problem for which a write is refused."""
    kind = kinds.by_name("task_resource")
    chains = (part.chain[: length + 1] for length in range(len(part.chain)))
    return not any(list(kind.validate(oracle.effective(each, kind.name))) for each in chains)


def events(part: Part, target: Scope) -> list[Event]:
    scopes = (
        PLATFORM,
        Scope(target.domain),
        Scope(project=target.project),
        Scope(target.domain, target.project),
        Scope(target.domain, target.project, target.workflow),
        target,
    )
    project = ProjectChanged(name=target.project, labels=dict(part.project_labels))
    recorded = [
        record(kind, document, scope)
        for scope, (_, documents) in zip(scopes, part.chain, strict=True)
        for kind, document in documents.items()
    ]
    return [project, *recorded]


def request_of(world: World) -> Request:
    config = node_values(world.task)
    node = Node(id="n0", task="train", inputs={}, overrides=node_values(world.with_overrides))
    workflow = Workflow(
        name=OWN.workflow,
        version="1",
        tasks={"train": Task(name="train", config=config)},
        nodes=(node, node.model_copy(update={"id": "n1.n0", "plan": "n1"})),
        module="the text of a module",
        plans={
            "n1": PlanCall(
                project=CALLED.project,
                domain=CALLED.domain,
                workflow=CALLED.workflow,
                launch_plan=CALLED.launch_plan,
                config=ExecutionConfig.model_validate(world.called.plan),
            )
        },
    )
    names = {"name": OWN.launch_plan, "workflow": OWN.workflow, "version": "1"}
    plan = LaunchPlan.model_validate({**names, **world.own.plan})
    return Request(
        execution="e1",
        project=OWN.project,
        domain=OWN.domain,
        workflow=workflow,
        launch_plan=plan,
        **world.request,
    )


def node_values(given: dict[str, Any] | Any) -> Any:
    pair = given.get("resources", {})
    amounts = {group: {"cpu": str(amount)} for group, amount in pair.items()}
    return overrides(**{**given, "resources": amounts})


def resolved(world: World) -> Resolution | Refusal:
    after: Settings = settings(*events(world.own, OWN), *events(world.called, CALLED))
    try:
        return resolve(request_of(world), after, Capabilities("any"))
    except Refusal as refusal:
        return refusal


@hypothesis.settings(max_examples=60)
@given(worlds())
def test_a_resolution_has_the_values_of_the_oracle(world: World) -> None:
    found = resolved(world)
    expected = [oracle.of_node(world, part) for part in (world.own, world.called)]
    if isinstance(found, Refusal):
        assert any(isinstance(each, Refused) for each in expected), found
        return
    for node, values in zip(("n0", "n1.n0"), expected, strict=True):
        assert {v.path: v.value for v in found.nodes[node]} == values
    whole = {v.path: v.value for v in found.execution}
    assert whole == oracle.of_whole(world, world.own)
    called = {v.path: v.value for v in found.plans["n1"]}
    assert called.pop("max_parallelism", None) == oracle.parallelism(world)
    of_called = oracle.of_whole(world, world.called)
    of_called.pop("max_parallelism", None)
    assert called == of_called
