"""The order of the sources, and what the settings add."""

from typing import Any

import pytest

from tests.unit.propeller.building import node, overrides, record, request, resources, settings
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import PoolChanged, RecordChanged
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.expansion import MAX_DEPTH
from trimtab.workflows.graphs.graph import MAX_NODES, Hook, Node
from trimtab_propeller.executors.port import Capabilities, Isolation
from trimtab_propeller.executors.process import CAPABILITIES
from trimtab_propeller.resolution import resolve

ANY = Capabilities("any")
MANY = ("a", "b", "c", "d")


def leaf(
    path: str, wanted: Request, settled: Settings | None = None, executor: Capabilities = ANY
) -> ResolvedValue:
    return value_of(resolve(wanted, settled or settings(), executor), "n0", path)


def value_of(resolution: Resolution, name: str, path: str) -> ResolvedValue:
    [found] = [value for value in resolution.nodes[name] if value.path == path]
    return found


def layered(field: dict[str, Any], last: str) -> Request:
    """Make a request in which this source and all less specific ones set the field differently."""
    sources = ["task", "with_overrides", "hook default", "launch plan override"]
    sources.append("execution override")
    given = {s: overrides(**field[s]) for s in sources[: sources.index(last) + 1]}
    return request(
        node(
            compiled=given.get("with_overrides"), hook="trainer", default=given.get("hook default")
        ),
        task=given["task"],
        plan={"runtime_override": {"trainer": given.get("launch plan override") or overrides()}},
        overrides={"trainer": given.get("execution override") or overrides()},
    )


SOURCES = ["task", "with_overrides", "hook default", "launch plan override", "execution override"]
FIELDS = {
    "resources.requests.cpu": lambda n: {"resources": {"requests": {"cpu": str(n)}}},
    "resources.limits.memory": lambda n: {"resources": {"limits": {"memory": str(n)}}},
    "retries": lambda n: {"retries": n},
    "interruptible": lambda n: {"interruptible": bool(n % 2)},
    "container_image": lambda n: {"container_image": f"image:{n}"},
    "environment.LOG": lambda n: {"environment": {"LOG": str(n), f"ONLY_{n}": ""}},
    "cache": lambda n: {"cache": bool(n % 2)},
    "cache_serialize": lambda n: {"cache_serialize": bool(n % 2)},
    "cache_version": lambda n: {"cache_version": f"{n or ''}"},
    "timeout_seconds": lambda n: {"timeout_seconds": n},
    "task_config.spark.cores": lambda n: {"task_config": {"spark": {"cores": n, f"only_{n}": n}}},
    "pod_template": lambda n: {"pod_template": {"labels": {f"only_{n}": ""}}},
    "accelerator": lambda n: {"accelerator": f"{n or ''}"},
    "shared_memory": lambda n: {"shared_memory": f"{n}Gi" if n else False},
}


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("source", SOURCES)
def test_of_two_sources_the_more_specific_one_wins(path: str, source: str) -> None:
    # Numbered downwards, so that the last values are 0, false and "0": values like any other.
    field = {s: FIELDS[path](len(SOURCES) - 1 - i) for i, s in enumerate(SOURCES)}
    wanted = layered(field, source)
    expected = leaf(path, layered({**field, "task": field[source]}, "task")).value
    found = leaf(path, wanted)
    assert (found.value, found.source) == (expected, source)


@pytest.mark.parametrize(
    ("others", "source"),
    [
        ({}, "task"),
        ({"compiled": "2"}, "with_overrides"),
        ({"compiled": "2", "plan": "3"}, "launch plan"),
        ({"compiled": "2", "plan": "3", "execution": "4"}, "execution"),
        ({"compiled": "2", "plan": "3", "execution": "4", "default": "5"}, "hook default"),
    ],
)
def test_the_environment_of_plan_and_execution_is_between_hook_and_task(
    others: dict[str, str], source: str
) -> None:
    given = {name: {"environment": {"LOG": value}} for name, value in others.items()}
    wanted = request(
        node(
            compiled=overrides(**given.get("compiled", {})),
            hook="trainer",
            default=overrides(**given.get("default", {})),
        ),
        task=overrides(environment={"LOG": "1"}),
        plan=given.get("plan"),
        **given.get("execution", {}),
    )
    assert leaf("environment.LOG", wanted).source == source


def test_maps_merge_by_key_and_resources_by_name() -> None:
    wanted = request(
        node(compiled=overrides(environment={"B": "2"}, resources={"requests": {"memory": "2"}})),
        task=overrides(environment={"A": "1", "B": "1"}, resources={"requests": {"cpu": "1"}}),
    )
    resolution = resolve(wanted, settings(), ANY)
    assert resolution.environment("n0") == {"A": "1", "B": "2"}
    assert resolution.value("n0", "resources.requests.cpu") == "1"
    assert resolution.value("n0", "resources.requests.memory") == "2"


def test_a_value_without_a_source_is_the_default_of_the_engine() -> None:
    assert leaf("retries", request()) == ResolvedValue(path="retries", value=0, source="engine")


def test_a_value_of_a_record_has_its_scope_and_revision() -> None:
    after = settings(
        record("task_resource", {"defaults": {"cpu": "1"}}, PLATFORM),
        record("task_resource", {"defaults": {"cpu": "2"}}),
    )
    assert leaf("resources.requests.cpu", request(), after) == ResolvedValue(
        path="resources.requests.cpu",
        value="2",
        source="task_resource.defaults.cpu",
        scope="project-domain shop/development",
        revision=2,
    )


def test_a_named_launch_plan_is_a_level_and_the_default_one_is_not() -> None:
    scope = Scope("development", "shop", "nightly", "large")
    after = settings(record("workflow_priority", {"priority": 7}, scope))
    assert leaf("priority", request(plan={"name": "large"}), after).value == 7
    assert resolve(request(), after, ANY).value("n0", "priority") is None


def test_nodes_that_differ_only_in_the_defaults_of_their_hooks_have_their_own_values() -> None:
    nodes = [node(f"n{n}", hook=f"h{n}", default=overrides(retries=n)) for n in range(2)]
    found = resolve(request(*nodes), settings(), Capabilities("any"))
    assert [found.value(f"n{n}", "retries") for n in range(2)] == [0, 1]


def test_an_override_changes_only_nodes_with_its_hook() -> None:
    wanted = request(
        node("n0"),
        node("n1", hook="trainer"),
        overrides={"trainer": resources({"cpu": "2"})},
    )
    resolution = resolve(wanted, settings(), ANY)
    assert resolution.value("n0", "resources.requests.cpu") is None
    assert resolution.value("n1", "resources.requests.cpu") == "2"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "n0/../..", "/n0", "n0\n", "n0\0", "-", "_n", 201 * "n"]
)
def test_an_id_that_could_leave_the_directory_of_an_execution_is_refused(name: str) -> None:
    hostile = node().model_copy(update={"id": name})
    with pytest.raises(Refusal) as refused:
        resolve(request(hostile), settings(), ANY)
    assert refused.value.path == "nodes.0.id"


def test_the_longest_id_of_an_expanded_workflow_is_accepted() -> None:
    longest = ".".join([f"n{MAX_NODES - 1}"] * (MAX_DEPTH + 1))
    assert len(longest) <= 200
    assert resolve(request(node(longest)), settings(), ANY).nodes.keys() == {longest}


def test_a_path_overrides_one_of_the_nodes_that_a_hook_steers() -> None:
    nodes = [
        Node(id=f"{path}.n0", task="train", inputs={}, hook=Hook(name="trainer", path=path))
        for path in ("n0", "n1", "n2")
    ]
    wanted = request(
        *nodes,
        plan={"runtime_override": {"trainer": overrides(retries=1), "n0/trainer": overrides()}},
        overrides={"n1/trainer": overrides(retries=2), "n2/trainer": overrides(cache=True)},
    )
    resolution = resolve(wanted, settings(), ANY)
    values = {each.id: value_of(resolution, each.id, "retries") for each in nodes}
    assert {name: value.value for name, value in values.items()} == {
        "n0.n0": 1,
        "n1.n0": 2,
        "n2.n0": 1,
    }
    assert values["n1.n0"].source == "execution override"
    assert resolution.value("n2.n0", "cache") is True


def test_leaves_are_ordered_by_path() -> None:
    wanted = request(task=overrides(environment={"B": "", "A": ""}, retries=1))
    paths = [value.path for value in resolve(wanted, settings(), ANY).nodes["n0"]]
    assert paths == sorted(paths)


def test_a_pool_is_resolved_with_its_weight() -> None:
    after = settings(PoolChanged(name="warehouse", quota=2))
    resolution = resolve(request(pool="warehouse"), after, ANY)
    assert (resolution.value("n0", "pool"), resolution.value("n0", "weight")) == ("warehouse", 1)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        (request(pool="typo"), "pool"),
        (request(overrides={"typo": overrides()}), "overrides.typo"),
        (
            request(plan={"runtime_override": {"typo": overrides()}}),
            "launch_plan.runtime_override.typo",
        ),
        (request(execution="../e"), "execution"),
        (request(execution=".."), "execution"),
        (request(execution="e" * 201), "execution"),
        (request(task=overrides(environment={"A=B": ""})), "environment.A=B"),
        (request(task=overrides(environment={"A": "\0"})), "environment.A"),
        (request(task=overrides(environment={"": ""})), "environment."),
        (request(task=overrides(environment={"LONG": 200_000 * "x"})), "environment.LONG"),
        (request(plan={"environment": {"A": 131_070 * "x"}}), "environment.A"),
        (request(environment={f"A{n}": 99_999 * "x" for n in range(11)}), "environment"),
    ],
)
def test_a_request_that_cannot_run_is_refused_with_the_path(wanted: Request, path: str) -> None:
    with pytest.raises(Refusal) as refused:
        resolve(wanted, settings(), CAPABILITIES)
    assert refused.value.path == path
    assert len(str(refused.value.value)) < 100


def test_the_refusal_of_a_variable_names_its_source_and_node() -> None:
    wanted = request(node("n7"), task=overrides(environment={"LONG": 200_000 * "x"}))
    with pytest.raises(
        Refusal, match=r"environment\.LONG is from task: .*at most 131071"
    ) as refused:
        resolve(wanted, settings(), CAPABILITIES)
    assert refused.value.node == "n7"


def test_variables_up_to_the_limits_are_accepted() -> None:
    longest = {"A": (131_071 - 2) * "x", "É": "ü"}
    assert resolve(request(environment=longest), settings(), CAPABILITIES).environment("n0")


def test_a_record_that_cannot_be_read_is_refused_by_name() -> None:
    broken = RecordChanged.at(PLATFORM, "task_resource", {"defaults": {"cpu": "much"}})
    with pytest.raises(Refusal, match="task_resource record of platform is not readable"):
        resolve(request(), settings(broken), ANY)


IGNORED: dict[str, Any] = {
    "accelerator": "nvidia-tesla-t4",
    "cache": True,
    "cache_serialize": False,
    "cache_version": "",
    "container_image": "i",
    "interruptible": False,
    "pod_template": {},
    "resources.limits.cpu": "1",
    "shared_memory": True,
    "task_config.spark.cores": 1,
    "task_config_type": "Spark",
}


@pytest.mark.parametrize("path", IGNORED)
def test_a_value_that_the_process_executor_ignores_has_a_note(path: str) -> None:
    fields = IGNORED[path]
    for step in reversed(path.split(".")):
        fields = {step: fields}
    wanted = request(task=overrides(**fields))
    assert leaf(path, wanted, executor=CAPABILITIES).note == "ignored by the process executor"
    assert leaf("retries", wanted, executor=CAPABILITIES).note == ""


PARTIAL = Isolation("Landlock ABI 3", ("files",), ("TCP", "signals"), "Landlock ABI 6")


def test_only_an_admin_of_the_platform_executes_where_tasks_cannot_be_isolated() -> None:
    executor = Capabilities("process", isolation=PARTIAL)
    with pytest.raises(Refusal) as refused:
        resolve(request(), settings(), executor)
    assert (refused.value.path, refused.value.value) == ("executor", "process")
    assert str(refused.value) == (
        "only an admin of the platform may execute here, because the process executor cannot "
        "isolate tasks: Landlock ABI 3 does not restrict TCP, signals; Landlock ABI 6 is needed"
    )
    admitted = resolve(request(by_platform_admin=True), settings(), executor)
    assert admitted.isolation == "Landlock ABI 3: files; only admins execute"


def test_the_resolution_names_what_is_enforced() -> None:
    enforced = Isolation("Landlock ABI 6", ("files", "TCP", "signals", "abstract sockets"))
    resolution = resolve(request(), settings(), Capabilities("process", isolation=enforced))
    assert resolution.isolation == "Landlock ABI 6: files, TCP, signals, abstract sockets"
    assert resolve(request(), settings(), ANY).isolation == ""
