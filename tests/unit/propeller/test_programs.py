"""The programs of tasks: text, bundle, image, container, pod; an executor may not run all."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.propeller.building import MODULE, overrides, request, settings
from trimtab.errors import Rejected
from trimtab.messages import subjects
from trimtab.messages.executions import ExecutionRequested, Request
from trimtab.models import read
from trimtab.resolution.limits import Refusal
from trimtab.runtime.bus import StoredMessage
from trimtab.workflows.graphs.graph import Graph, Node, Reference
from trimtab.workflows.graphs.node_overrides import PodTemplate
from trimtab.workflows.graphs.targets import IN_IMAGE, Container, Function, Pod
from trimtab_propeller import requests
from trimtab_propeller.executors.attempt import Attempt, Program
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.executors.process import CAPABILITIES
from trimtab_propeller.resolution import resolve

ANY = Capabilities("any")
BUNDLE, OTHER = 64 * "e", 64 * "f"


def with_task(wanted: Request, **fields: Any) -> Request:
    """Return the request with other fields of its task."""
    task = wanted.workflow.tasks["train"].model_copy(update=fields)
    workflow = wanted.workflow.model_copy(update={"tasks": {"train": task}})
    return wanted.model_copy(update={"workflow": workflow})


def with_code(wanted: Request, **fields: Any) -> Request:
    """Return the request with the code of its workflow elsewhere."""
    workflow = wanted.workflow.model_copy(update={"module": "", **fields})
    return wanted.model_copy(update={"workflow": workflow})


@pytest.mark.parametrize(
    ("target", "image", "reason"),
    [
        (Container(), "registry/train:1", "runs container image registry/train:1,"),
        (Container(), None, "runs container image, which"),
        (Pod(), "registry/train:1", "runs a pod,"),
        (
            Function(code=IN_IMAGE),
            "registry/train:1",
            "has its code in a container image registry/train:1,",
        ),
    ],
)
def test_a_task_that_the_executor_cannot_run_is_refused_by_name(
    target: Container | Pod | Function, image: str | None, reason: str
) -> None:
    wanted = with_task(request(task=overrides(container_image=image)), target=target)
    with pytest.raises(Refusal) as refused:
        resolve(wanted, settings(), CAPABILITIES)
    assert (refused.value.path, refused.value.node) == ("target", "n0")
    assert f'task "train" {reason}' in str(refused.value)
    assert "which the process executor cannot run; " in str(refused.value)
    assert resolve(wanted, settings(), ANY)


def test_a_function_of_a_bundle_without_a_module_is_refused() -> None:
    wanted = with_code(request(), bundle=BUNDLE)
    with pytest.raises(Refusal, match='task "train" names no module of its bundle'):
        resolve(wanted, settings(), CAPABILITIES)


def test_a_function_of_a_text_or_of_a_bundle_is_admitted() -> None:
    assert resolve(request(), settings(), CAPABILITIES)
    for target in (Function(module="shop.train", code=OTHER), Function(module="shop.train")):
        wanted = with_code(with_task(request(), target=target), bundle=BUNDLE)
        assert resolve(wanted, settings(), CAPABILITIES)


def test_a_workflow_that_is_not_expanded_is_refused() -> None:
    workflow = request().workflow
    inner = Graph(nodes=workflow.nodes)
    call = Node(id="n0", workflow="inner", inputs={})
    reference = Reference(
        type="workflow", project="shop", domain="development", name="other", version="1"
    )
    for fields in (
        {"workflows": {"inner": inner}, "nodes": (call,)},
        {"references": {"other": reference}},
        {"nodes": (call,)},
    ):
        changed = workflow.model_copy(update=fields)
        with pytest.raises(Refusal, match=r"inner|other"):
            resolve(request().model_copy(update={"workflow": changed}), settings(), ANY)


@pytest.mark.parametrize(
    ("target", "fields", "kind", "code"),
    [
        (Function(), {"module": MODULE}, "text", MODULE),
        (Function(), {"bundle": BUNDLE}, "bundle", BUNDLE),
        (Function(), {}, "image", ""),
        (Function(code=OTHER), {"module": MODULE, "sources": {OTHER: "text"}}, "text", "text"),
        (Function(code=OTHER), {"module": MODULE}, "bundle", OTHER),
        (Function(code=IN_IMAGE), {"module": MODULE}, "image", ""),
        (Container(), {"module": MODULE}, "container", ""),
        (Pod(), {"bundle": BUNDLE}, "pod", ""),
    ],
)
def test_the_program_of_a_task_has_its_own_code_only(
    target: Container | Pod | Function, fields: dict[str, str], kind: str, code: str
) -> None:
    wanted = with_code(with_task(request(), target=target), **fields)
    program = Program.of(wanted.workflow.tasks["train"], wanted.workflow)
    assert (program.kind, program.module or program.bundle) == (kind, code)
    assert not (program.module and program.bundle)


def test_an_attempt_has_what_its_pod_needs_as_it_is_resolved() -> None:
    given = overrides(
        timeout_seconds=30,
        pod_template={"labels": {"team": "a"}},
        accelerator="nvidia-tesla-t4",
        shared_memory="1Gi",
        task_config={"spark.cores": 4, "spark": {"memory": "1g"}, "empty": {}},
    )
    function = Function(module="shop.train", name="train")
    wanted = with_task(request(task=given), target=function, type="spark")
    resolution = resolve(wanted, settings(), ANY)
    found = Attempt.from_resolution(wanted, resolution, wanted.workflow.nodes[0], 0, {})
    assert (found.target, found.task_type, found.module) == (function, "spark", MODULE)
    assert (found.timeout_seconds, found.accelerator) == (30, "nvidia-tesla-t4")
    assert (found.shared_memory, found.task_config) == ("1Gi", given.task_config)
    assert found.pod_template == PodTemplate(labels={"team": "a"})


def test_a_request_of_an_earlier_release_has_the_program_that_it_had() -> None:
    path = Path(__file__).parents[1] / "trimtab" / "wire" / "earlier" / "execution_requested.json"
    wanted = read(ExecutionRequested, path.read_bytes()).request
    resolution = resolve(wanted, settings(), CAPABILITIES)
    node = wanted.workflow.nodes[1]
    found = Attempt.from_resolution(wanted, resolution, node, 0, {"number": 1})
    assert (found.kind, found.module) == ("text", wanted.workflow.module)
    assert (found.function, found.timeout_seconds) == ("double", 0)


def test_a_request_with_a_target_of_a_later_release_is_rejected_with_its_path() -> None:
    event = ExecutionRequested(request=with_task(request(), target=Pod()))
    later = event.body().replace(b'"type":"pod"', b'"type":"wasm"')
    message = StoredMessage(subjects.requested("development", "shop"), 1, {}, later, is_last=True)
    with pytest.raises(Rejected, match=r"workflow\.tasks\.train\.target: .*'wasm'"):
        requests.parse(message)
    assert requests.execution_of(message) == "e1"
