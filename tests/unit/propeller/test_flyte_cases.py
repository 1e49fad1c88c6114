"""Each case of how Flyte resolves resources, with our outcome; they make docs/flyte-resources.md.

``pytest --update-golden tests/unit/propeller/test_flyte_cases.py`` writes the page.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from tests.unit.propeller.building import node, overrides, record, request, resources, settings
from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM
from trimtab.messages.executions import Request
from trimtab.resolution.limits import Refusal
from trimtab.workflows.graphs.graph import Task
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab.workflows.graphs.targets import Container
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.pods.building import build_pod
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.resolution import resolve

PAGE = Path(__file__).parents[3] / "docs" / "flyte-resources.md"
ANY = Capabilities("any")


class Case(NamedTuple):
    """A case, what Flyte 1.16 makes of it, and what Trimtab does, which `check` returns."""

    case: str
    flyte: str
    ours: str
    check: Callable[[], str]


def outcome(wanted: Request, task_resource: Mapping[str, Any] = {}) -> str:
    """Return request and limit of each resource that has one, with notes, or the refusal."""
    try:
        resolution = resolve(wanted, settings(record("task_resource", task_resource)), ANY)
    except Refusal as refusal:
        return f"refused: {refusal.path} {refusal.value} over {refusal.limit}"
    found = {value.path: value for value in resolution.nodes["n0"]}
    parts = []
    for resource in ("cpu", "memory", "gpu", "ephemeral_storage"):
        pair = [found.get(f"resources.{group}.{resource}") for group in ("requests", "limits")]
        if any(pair):
            shown = " / ".join("–" if value is None else str(value.value) for value in pair)
            notes = [value.note for value in pair if value is not None and value.note]
            parts.append(f"{resource} {shown}" + "".join(f" ({note})" for note in notes[:1]))
    return ", ".join(parts) or "nothing"


def task(
    requests: Mapping[str, str] = {}, limits: Mapping[str, str] = {}, **others: Any
) -> Request:
    return request(task=resources(requests, limits), **others)


def overridden(own: NodeOverrides, given: NodeOverrides) -> Request:
    return request(node(hook="h"), task=own, overrides={"h": given})


def refused(write: Callable[[], object]) -> str:
    """Return the field and what it allows, of what is refused where it is written."""
    try:
        write()
    except Invalid as error:
        return f"refused: {error.path} allows {error.allowed}"
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"refused: {'.'.join(map(str, first['loc']))} allows {first['ctx']['error']}"
    return "accepted"


def stored(document: Mapping[str, Any]) -> str:
    """Return the problem of the record, or the warnings of its author."""
    kind = kinds.by_name("task_resource")
    kind.parse(dict(document), PLATFORM)
    flat = kind.schema.flatten(kind.rename_deprecated(document))
    for problem in kind.validate(flat):
        return f"refused: {problem.path} allows {problem.allowed}"
    return "; ".join(kind.warnings(document))


def amounts(
    pod_spec: Mapping[str, Any] | None,
    task_resource: Mapping[str, Any] = {},
    *,
    gpu: str = "nvidia.com/gpu",
    **given: Any,
) -> str:
    """Return the resources of each container of the pod of a task."""
    template = {} if pod_spec is None else {"pod_template": {"pod_spec": pod_spec}}
    config = overrides(container_image="team/train:1", **given, **template)
    wanted = request(task=config)
    container = Task(name="train", type="container", target=Container(), config=config)
    workflow = wanted.workflow.model_copy(update={"tasks": {"train": container}})
    wanted = wanted.model_copy(update={"workflow": workflow})
    resolution = resolve(wanted, settings(record("task_resource", task_resource)), ANY)
    attempt = Attempt.from_resolution(wanted, resolution, workflow.nodes[0], 0, {})
    spec = build_pod(attempt, PodDefaults(gpu_resource=gpu))["spec"]
    listed = [*spec.get("initContainers", []), *spec["containers"]]
    return "; ".join(f"{each['name']}: {_shown(each.get('resources') or {})}" for each in listed)


def with_sidecar(resources: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {"containers": [PRIMARY, {**SIDECAR, "resources": resources}]}


def with_limit(pod_spec: Mapping[str, Any], **rule: str) -> str:
    """Return the resources of each container where a task may have 2 cores."""
    try:
        return amounts(pod_spec, {"limits": {"cpu": "2"}, **rule})
    except Refusal as refusal:
        return f"refused: {refusal.path} {refusal.value} over {refusal.limit}"


def _shown(resources: Mapping[str, Mapping[str, str]]) -> str:
    pairs = [
        f"{group} {name} {amount}"
        for group in ("requests", "limits")
        for name, amount in sorted(resources.get(group, {}).items())
    ]
    return ", ".join(pairs) or "none"


BOTH = {"cpu": "2"}
SIDECAR = {"name": "proxy", "image": "team/proxy:1"}
INIT = {"name": "fetch", "image": "team/fetch:1"}
PRIMARY = {"name": "primary"}

CASES = {
    "Amounts": [
        Case(
            "`123Mb` in a task",
            "registered by the SDK; the pod cannot be built",
            "refused where it is written, with the field",
            lambda: refused(lambda: resources({"memory": "123Mb"})).partition(" allows ")[0],
        ),
        Case(
            "an override with the request `0`",
            "dropped: zero is no value",
            "a value: the node runs with a request of 0",
            lambda: outcome(overridden(resources({"cpu": "1"}), resources({"cpu": "0"}))),
        ),
        Case(
            "a limit of `0` in the settings",
            "no limit",
            "none is allowed, with a warning to the author",
            lambda: stored({"limits": {"gpu": "0"}}).partition(";")[0],
        ),
        Case(
            "`storage` in the settings",
            "accepted and without effect",
            "read as `ephemeral_storage`, with a warning",
            lambda: stored({"limits": {"storage": "1Gi"}}),
        ),
        Case(
            "half a GPU",
            "refused for containers, not for pods",
            "refused where it is written",
            lambda: refused(lambda: resources({"gpu": "500m"})).partition(" allows ")[2],
        ),
    ],
    "Request and limit of the primary container": [
        Case(
            "neither, default 2",
            "2 / 2",
            "the default for both",
            lambda: outcome(task(), {"defaults": BOTH}),
        ),
        Case(
            "neither, and no default in the settings",
            "1000m and 1024Mi of the engine's configuration, or entries of 0",
            "none: no value is hidden in a service's configuration",
            lambda: outcome(task()),
        ),
        Case("limit 2", "2 / 2", "the limit is the request", lambda: outcome(task({}, BOTH))),
        Case(
            "request 2",
            "2 / 2",
            "no limit",
            lambda: outcome(task(BOTH)),
        ),
        Case(
            "request 2, `mirror_limits_request`",
            "does not exist",
            "the request is the limit",
            lambda: outcome(task(BOTH), {"mirror_limits_request": True}),
        ),
        Case(
            "request 5, own limit 3",
            "refused at registration; after overrides lowered to 3 in silence",
            "refused",
            lambda: outcome(task({"cpu": "5"}, {"cpu": "3"})),
        ),
        Case(
            "the same with `over_limit: clamp`",
            "does not exist",
            "lowered, with a note",
            lambda: outcome(task({"cpu": "5"}, {"cpu": "3"}), {"over_limit": "clamp"}),
        ),
        Case(
            "request 5, platform limit 2",
            "lowered to 2 in silence at execution",
            "refused",
            lambda: outcome(task({"cpu": "5"}), {"limits": BOTH}),
        ),
        Case(
            "the same with `over_limit: clamp`",
            "does not exist",
            "lowered, with a note",
            lambda: outcome(task({"cpu": "5"}), {"limits": BOTH, "over_limit": "clamp"}),
        ),
        Case(
            "limit 1900m, platform limit 1500m",
            "both are rounded up to 2 at registration, so it passes there",
            "compared exactly",
            lambda: outcome(task({}, {"cpu": "1900m"}), {"limits": {"cpu": "1500m"}}),
        ),
        Case(
            "default 3, limit 2 in the settings",
            "accepted; tasks get 2",
            "the record is refused",
            lambda: stored({"defaults": {"cpu": "3"}, "limits": BOTH}),
        ),
        Case(
            "a narrower record that sets only `defaults`",
            "removes the limits of the broader one",
            "limits are inherited",
            lambda: outcome_of_two({"limits": BOTH}, {"defaults": {"cpu": "1"}}),
        ),
        Case(
            "defaults for GPU and ephemeral storage",
            "only for container tasks",
            "for every task, as for the others",
            lambda: outcome(task(), {"defaults": {"gpu": "1", "ephemeral_storage": "1Gi"}}),
        ),
    ],
    "The containers of a pod": [
        Case(
            "a sidecar without resources",
            "entries of 0 for cpu and memory",
            "no entries",
            lambda: amounts({"containers": [PRIMARY, SIDECAR]}),
        ),
        Case(
            "an override of the node's cpu, and an init container",
            "the init container gets it too",
            "the primary container gets it",
            lambda: amounts(
                {"containers": [PRIMARY], "initContainers": [INIT]},
                resources={"requests": {"cpu": "2"}},
            ),
        ),
        Case(
            "a sidecar's request 3, platform limit 2",
            "lowered to 2 in silence",
            "refused",
            lambda: with_limit(with_sidecar({"requests": {"cpu": "3"}})),
        ),
        Case(
            "the same with `over_limit: clamp`",
            "does not exist",
            "lowered, with a note",
            lambda: with_limit(with_sidecar({"requests": {"cpu": "3"}}), over_limit="clamp"),
        ),
        Case(
            "a sidecar's request 2, its limit 1",
            "lowered to 1 in silence",
            "refused where it is written",
            lambda: refused(
                lambda: amounts(with_sidecar({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}))
            ).partition(" allows pod_spec.")[2],
        ),
        Case(
            "`gpu` with another resource of the cluster configured",
            "stays `nvidia.com/gpu`, without default and limit for the configured name",
            "the configured resource; default and limit are those of `gpu`",
            lambda: amounts(None, gpu="amd.com/gpu", resources={"requests": {"gpu": "1"}}),
        ),
        Case(
            "two GPUs requested, without a limit",
            "the limit is the request",
            "the limit is the request",
            lambda: amounts(None, resources={"requests": {"gpu": "2"}}),
        ),
        Case(
            "GPUs: request 1, limit 2",
            "refused at registration; after overrides by Kubernetes",
            "refused at admission",
            lambda: outcome(task({"gpu": "1"}, {"gpu": "2"})),
        ),
        Case(
            "another device of a sidecar",
            "passes through",
            "passes through",
            lambda: amounts(with_sidecar({"limits": {"example.com/fpga": "1"}})),
        ),
    ],
    "Overrides": [
        Case(
            "task requests 3 and no limit; the override requests 5",
            "3: the limit that Flyte wrote by itself lowers it",
            "5",
            lambda: outcome(overridden(resources({"cpu": "3"}), resources({"cpu": "5"}))),
        ),
        Case(
            "task requests 3 with limit 3; the override requests 5",
            "3",
            "refused: the override has to raise the limit too",
            lambda: outcome(
                overridden(resources({"cpu": "3"}, {"cpu": "3"}), resources({"cpu": "5"}))
            ),
        ),
        Case(
            "the override sets cpu, the task memory",
            "merged by key in the pod; replaced as a whole by `with_overrides`",
            "merged by resource, and request apart from limit, everywhere",
            lambda: outcome(overridden(resources({"memory": "1Gi"}), resources({"cpu": "1"}))),
        ),
    ],
}


def outcome_of_two(broad: Mapping[str, Any], narrow: Mapping[str, Any]) -> str:
    after = settings(record("task_resource", broad, PLATFORM), record("task_resource", narrow))
    try:
        resolve(task({"cpu": "5"}), after, ANY)
    except Refusal as refusal:
        return f"refused: {refusal.path} {refusal.value} over {refusal.limit}"
    return "runs"


@pytest.mark.parametrize(
    "case", [each for cases in CASES.values() for each in cases], ids=lambda each: each.case
)
def test_the_page_has_the_outcome_of_each_case(case: Case, update_golden: bool) -> None:
    if not update_golden:
        assert _row(case) in PAGE.read_text().splitlines()


def test_the_page_is_made_of_the_cases(update_golden: bool) -> None:
    page = "\n".join(_page()) + "\n"
    if update_golden:
        PAGE.write_text(page)
    assert page == PAGE.read_text()


INTRODUCTION = """# Resources: what Flyte does, and what Trimtab does

<!-- Written by `pytest --update-golden tests/unit/propeller/test_flyte_cases.py`, not by hand. -->

Flyte decides about requests and limits in several places, each with another policy: at
registration, when an execution is created, and when a pod is built. Trimtab decides once, when the
execution is admitted, and stores the result with its sources. The rules are in
[Requests and limits of tasks](task-resources.md); this page has the cases in which Flyte 1.16 is
known to differ from what its users expect. The last column is what the resolution or the pod has in
a test: `cpu 1 / 2` is a request of 1 and a limit of 2, and `–` means that there is none."""


def _page() -> Iterator[str]:
    yield INTRODUCTION
    for title, cases in CASES.items():
        yield f"\n## {title}\n"
        yield "| case | Flyte 1.16 | Trimtab | result |"
        yield "|---|---|---|---|"
        yield from map(_row, cases)


def _row(case: Case) -> str:
    return f"| {case.case} | {case.flyte} | {case.ours} | {case.check().replace('|', '')} |"
