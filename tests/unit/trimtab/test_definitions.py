"""Resources, containers, pods and overrides are checked where they are written."""

import warnings
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest

from trimtab import (
    Container,
    K8sObjectMetadata,
    K8sPod,
    Pool,
    ResourceEntry,
    ResourceName,
    Resources,
    RuntimeMetadata,
    TaskNodeConfigOverride,
    runtime_override_config,
    task,
)
from trimtab.errors import Invalid
from trimtab.workflows.definitions.overrides import AmountArguments, OverrideArguments
from trimtab.workflows.graphs.images import ImageWarning

CPU, MEMORY, GPU = ResourceName.CPU, ResourceName.MEMORY, ResourceName.GPU


def test_both_shapes_of_resources_are_the_same_values() -> None:
    listed = Resources(
        requests=[
            ResourceEntry(name=CPU, value="500m"),
            ResourceEntry(name=ResourceName.EPHEMERAL_STORAGE, value="1Gi"),
        ],
        limits=[ResourceEntry(name=MEMORY, value="2Gi"), ResourceEntry(name=GPU, value="1")],
    )
    named = Resources(cpu="500m", mem=(None, "2Gi"), gpu=(None, 1), ephemeral_storage=("1Gi", None))
    assert named == listed
    assert named.overrides() == listed.overrides()
    assert (named.requests[0].value, named.limits[0].name) == ("500m", MEMORY)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"cpu": "1 Gi"}, "cpu"),
        ({"cpu": -1}, "cpu"),
        ({"cpu": True}, "cpu"),
        ({"cpu": float("nan")}, "cpu"),
        ({"mem": ("1", "2", "3")}, "mem"),
        ({"mem": ()}, "mem"),
        ({"mem": (None, None)}, "mem"),
        ({"mem": ("1", ["2"])}, "mem"),
        ({"gpu": 0.5}, "gpu"),
        ({"cpu": ("2", 1)}, "requests.cpu"),
        ({"cpu": 1, "limits": []}, "cpu"),
        ({"requests": {"cpu": "1"}}, "requests"),
        ({"requests": ["cpu"]}, "requests.0"),
        ({"requests": [ResourceEntry(CPU, "1"), ResourceEntry(CPU, "2")]}, "requests.cpu"),
    ],
)
def test_wrong_resources_are_refused_with_their_field(arguments: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        Resources(**arguments)
    assert refused.value.path == path


@pytest.mark.parametrize(("name", "value"), [("cpu", "1"), (CPU, 1), (CPU, ""), (GPU, "1.5")])
def test_an_entry_has_a_name_and_a_quantity(name: Any, value: Any) -> None:
    with pytest.raises(Invalid):
        ResourceEntry(name, value)


def test_a_container_has_copies_of_what_was_given_and_cannot_be_changed() -> None:
    env = {"MODE": "fast"}
    container = Container(image="train:v1", command=["python"], args=["-c", "a\nb"], env=env)
    env["MODE"] = "slow"
    assert (container.env, container.command) == ({"MODE": "fast"}, ("python",))
    assert container.resources.requests == ()
    with pytest.raises(FrozenInstanceError):
        container.image = "other:v1"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"image": "Train:v1"}, "image"),
        ({"image": "train:v1", "command": "python"}, "command"),
        ({"image": "train:v1", "args": [1]}, "args"),
        ({"image": "train:v1", "args": ["\0"]}, "args.0"),
        ({"image": "train:v1", "env": {"A=B": ""}}, "env.A=B"),
        ({"image": "train:v1", "env": {"A": 1}}, "env.A"),
        ({"image": "train:v1", "env": ["A"]}, "env"),
        ({"image": "train:v1", "config": {"a": object()}}, "config"),
        ({"image": "train:v1", "config": ["a"]}, "config"),
        ({"image": "train:v1", "resources": {"cpu": "1"}}, "resources"),
    ],
)
def test_a_wrong_container_is_refused_with_its_field(arguments: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        Container(**arguments)
    assert refused.value.path == path


def test_a_pod_is_of_json_and_may_lack_its_primary_container() -> None:
    spec: Any = {"nodeSelector": {"disk": "ssd"}, "containers": ()}
    pod = K8sPod(metadata=K8sObjectMetadata(labels={"app": "train"}), pod_spec=spec)
    spec["nodeSelector"]["disk"] = "hdd"
    assert pod.pod_spec == {"nodeSelector": {"disk": "ssd"}, "containers": []}
    assert (pod.metadata.labels, pod.metadata.annotations) == ({"app": "train"}, {})
    assert pod.template().primary_container_name == "primary"


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"pod_spec": []}, "pod_spec"),
        ({"pod_spec": {"a": {1, 2}}}, "pod_spec"),
        ({"pod_spec": {"containers": [{}]}}, "pod_spec.containers.0.name"),
        ({"primary_container_name": "Main"}, "primary_container_name"),
        ({"metadata": {"labels": {}}}, "metadata"),
    ],
)
def test_a_wrong_pod_is_refused_with_its_field(arguments: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        K8sPod(**arguments)
    assert refused.value.path == path


@pytest.mark.parametrize("labels", [{"a b": "c"}, {"a": "b c"}, {"a": 1}, "a"])
def test_labels_follow_the_grammar_of_kubernetes(labels: Any) -> None:
    with pytest.raises(Invalid, match="labels"):
        K8sObjectMetadata(labels=labels)


@pytest.mark.parametrize(
    "define",
    [
        lambda: Container(image="train"),
        lambda: K8sPod(pod_spec={"containers": [{"name": "a", "image": "train:latest"}]}),
        lambda: TaskNodeConfigOverride(container_image="train"),
        lambda: runtime_override_config(container_image="train"),
        lambda: task(container_image="train"),
    ],
)
def test_an_image_that_may_change_warns_at_the_line_of_the_user(define: Any) -> None:
    with pytest.warns(ImageWarning, match="train") as caught:
        define()
    assert [(each.filename, each.lineno) for each in caught] == [
        (__file__, define.__code__.co_firstlineno)
    ]


def test_the_fields_of_overrides_are_those_of_the_proposal_and_four_more() -> None:
    fields = set(TaskNodeConfigOverride.__dataclass_fields__) - {"overrides"}
    assert fields == set(OverrideArguments.__annotations__)
    assert fields == {
        "resources", "cache", "cache_serialize", "cache_version", "retries", "interruptible",
        "container_image", "environment", "task_config",
        "pod_template", "accelerator", "shared_memory", "timeout",
    }  # fmt: skip
    amounts = set(AmountArguments.__annotations__) - fields
    assert amounts == {"cpu", "mem", "gpu", "ephemeral_storage"}


def test_false_zero_and_empty_are_values_and_none_is_not() -> None:
    values: Any = {
        "cache": False,
        "cache_serialize": False,
        "cache_version": "",
        "retries": 0,
        "interruptible": False,
        "environment": {},
        "task_config": {},
        "accelerator": "",
        "shared_memory": False,
    }
    override = TaskNodeConfigOverride(timeout=0, **values)
    assert override.overrides.model_dump(exclude_unset=True) == values | {"timeout_seconds": 0}
    nothing: Any = dict.fromkeys([*values, "resources", "pod_template", "timeout"])
    assert TaskNodeConfigOverride(**nothing).overrides.is_empty
    assert runtime_override_config(resources=Resources(), cpu=None).is_empty


def test_both_forms_of_overrides_are_equal() -> None:
    pod = K8sPod(pod_spec={"hostNetwork": True})
    override = TaskNodeConfigOverride(
        resources=Resources(cpu=2),
        timeout=timedelta(minutes=2),
        pod_template=pod,
        shared_memory="1Gi",
    )
    seconds = 120
    config = runtime_override_config(cpu=2, timeout=seconds, pod_template=pod, shared_memory="1Gi")
    assert override.overrides == config
    assert config.timeout_seconds == seconds


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({"retires": 1}, "argument"),
        ({"retries": True}, "retries"),
        ({"retries": 101}, "retries"),
        ({"cache": 1}, "cache"),
        ({"timeout": timedelta(milliseconds=1500)}, "timeout"),
        ({"timeout": -1}, "timeout_seconds"),
        ({"timeout": 1.5}, "timeout_seconds"),
        ({"container_image": ""}, "container_image"),
        ({"environment": {"1A": ""}}, "environment.1A"),
        ({"environment": {"A": "\x1b"}}, "environment.A"),
        ({"task_config": 3}, "task_config"),
        ({"pod_template": {}}, "pod_template"),
        ({"accelerator": "nvidia tesla"}, "accelerator"),
        ({"shared_memory": "large"}, "shared_memory"),
        ({"resources": {"cpu": 1}}, "resources"),
        ({"resources": Resources(mem=1), "cpu": 1}, "resources"),
    ],
)
def test_a_wrong_override_is_refused_with_its_field(arguments: Any, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        runtime_override_config(**arguments)
    assert refused.value.path == path


def test_a_misspelt_argument_is_recognised() -> None:
    with pytest.raises(Invalid, match="did you mean 'retries'"):
        task(retires=1)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "quota"), [("", 1), ("a b", 1), ("a", 0), ("a", True), ("a", 1.5)]
)
def test_a_pool_has_a_name_and_a_quota(name: str, quota: Any) -> None:
    with pytest.raises(Invalid, match="pool"):
        Pool(name, quota)
    assert Pool("plugin:warehouse").quota is None


def test_the_metadata_of_a_runtime_is_that_of_flyte() -> None:
    kinds = RuntimeMetadata.RuntimeType
    metadata = RuntimeMetadata(type=kinds.FLYTE_SDK, version="1.2", flavor="Python")
    assert (metadata.type, metadata.version, metadata.flavor) == (kinds.FLYTE_SDK, "1.2", "Python")
    assert {each.name for each in kinds} == {"OTHER", "FLYTE_SDK", "TRIMTAB_SDK"}


def test_fixed_images_do_not_warn() -> None:
    with warnings.catch_warnings(action="error"):
        task(container=Container(image="train:v1"))
