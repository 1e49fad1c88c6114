"""The template of the configuration below a pod: which value wins, and what is added."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.propeller.pod_attempts import attempt, container, defaults, spec, template
from trimtab_propeller.pods import build_pod
from trimtab_propeller.pods.fields import PodRejected

VOLUME = {"name": "data", "emptyDir": {}}


def test_fields_of_the_template_are_below_those_of_the_pod() -> None:
    own = {"hostname": "own", "enableServiceLinks": False, "priority": 0, "subdomain": ""}
    base = {"hostname": "base", "enableServiceLinks": True, "priority": 5, "subdomain": "x"}
    pod = spec(attempt(pod=own), template(**base, dnsPolicy="Default"))
    assert {name: pod[name] for name in own} == own
    assert pod["dnsPolicy"] == "Default"


def test_a_null_of_the_pod_removes_the_value_of_the_template() -> None:
    pod = spec(attempt(pod={"hostname": None}), template(hostname="base"))
    assert "hostname" not in pod


@pytest.mark.parametrize(
    ("field", "base", "own", "merged"),
    [
        ("nodeSelector", {"a": "1", "b": "1"}, {"b": "2"}, {"a": "1", "b": "2"}),
        (
            "securityContext",
            {"runAsUser": 1, "fsGroup": 2},
            {"runAsUser": 0},
            {"runAsUser": 0, "fsGroup": 2},
        ),
        (
            "imagePullSecrets",
            [{"name": "a"}],
            [{"name": "b"}, {"name": "a"}],
            [{"name": "a"}, {"name": "b"}],
        ),
        (
            "volumes",
            [VOLUME],
            [{"name": "data", "configMap": {"name": "c"}}],
            [{"name": "data", "configMap": {"name": "c"}}],
        ),
        (
            "hostAliases",
            [{"ip": "1", "hostnames": ["a"]}],
            [{"ip": "1", "hostnames": ["b"]}],
            [{"ip": "1", "hostnames": ["b"]}],
        ),
        (
            "dnsConfig",
            {"searches": ["a"], "nameservers": ["1"]},
            {"searches": ["b"]},
            {"searches": ["b"], "nameservers": ["1"]},
        ),
        (
            "affinity",
            {"podAffinity": {"x": [1]}},
            {"podAntiAffinity": {"y": [2]}},
            {"podAffinity": {"x": [1]}, "podAntiAffinity": {"y": [2]}},
        ),
    ],
)
def test_fields_of_the_pod_are_merged(field: str, base: Any, own: Any, merged: Any) -> None:
    assert spec(attempt(pod={field: own}), template(**{field: base}))[field] == merged


@pytest.mark.parametrize(
    ("field", "base", "own", "merged"),
    [
        (
            "ports",
            [{"containerPort": 53}],
            [
                {"containerPort": 53, "protocol": "TCP", "name": "dns"},
                {"containerPort": 53, "protocol": "UDP"},
            ],
            [
                {"containerPort": 53, "protocol": "TCP", "name": "dns"},
                {"containerPort": 53, "protocol": "UDP"},
            ],
        ),
        (
            "volumeMounts",
            [{"mountPath": "/a", "name": "x"}],
            [{"mountPath": "/a", "name": "y"}],
            [{"mountPath": "/a", "name": "y"}],
        ),
        (
            "envFrom",
            [{"secretRef": {"name": "a"}}],
            [{"configMapRef": {"name": "a"}}],
            [{"secretRef": {"name": "a"}}, {"configMapRef": {"name": "a"}}],
        ),
        (
            "securityContext",
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}},
            {"seccompProfile": {"type": "RuntimeDefault"}},
            {"seccompProfile": {"type": "RuntimeDefault"}},
        ),
        (
            "livenessProbe",
            {"httpGet": {"port": 80}},
            {"exec": {"command": ["a"]}},
            {"exec": {"command": ["a"]}},
        ),
        ("tty", True, False, False),
    ],
)
def test_fields_of_a_container_are_merged(field: str, base: Any, own: Any, merged: Any) -> None:
    pod = {"containers": [{"name": "log", "image": "l", field: own}]}
    base_pod = template(containers=[{"name": "log", field: base}])
    assert container(spec(attempt(pod=pod), base_pod), "log")[field] == merged


def test_a_variable_is_replaced_with_its_source() -> None:
    base = {"name": "log", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}
    source = {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    own = {"name": "log", "image": "l", "env": [source]}
    merged = container(spec(attempt(pod={"containers": [own]}), template(containers=[base])), "log")
    named = {each["name"]: each for each in merged["env"]}
    assert (named["A"], named["B"]) == (source, {"name": "B", "value": "1"})


def test_default_is_below_primary_which_is_below_the_container_of_the_same_name() -> None:
    bases = [
        {"name": "default", "tty": True, "stdin": True, "workingDir": "/default"},
        {"name": "primary", "workingDir": "/primary", "stdin": False},
        {"name": "main", "workingDir": "/main"},
    ]
    pod = spec(attempt(pod={}, primary_name="main"), template(containers=bases))
    main = container(pod, "main")
    assert [main[f] for f in ("tty", "stdin", "workingDir")] == [True, False, "/main"]
    assert [each["name"] for each in pod["containers"]] == ["main"]


def test_a_sidecar_gets_default_and_not_primary() -> None:
    bases = [{"name": "default", "tty": True}, {"name": "primary", "stdin": True}]
    own = {"containers": [{"name": "log", "image": "l"}]}
    log = container(spec(attempt(pod=own), template(containers=bases)), "log")
    assert log["tty"]
    assert "stdin" not in log


def test_every_init_container_gets_default_init() -> None:
    own = {
        "initContainers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i", "tty": False}]
    }
    pod = spec(attempt(pod=own), template(initContainers=[{"name": "default-init", "tty": True}]))
    assert [each["tty"] for each in pod["initContainers"]] == [True, False]


def test_other_containers_of_the_template_are_added() -> None:
    bases = template(
        containers=[{"name": "default", "tty": True}, {"name": "agent", "image": "a"}],
        initContainers=[{"name": "prepare", "image": "p"}],
    )
    pod = spec(attempt(), bases)
    assert [each["name"] for each in pod["containers"]] == ["primary", "agent"]
    assert container(pod, "agent")["tty"]
    assert [each["name"] for each in pod["initContainers"]] == ["prepare"]


@pytest.mark.parametrize("own", [{"command": ["own"]}, {"args": ["own"]}])
def test_a_program_is_never_mixed_with_that_of_the_template(own: dict[str, Any]) -> None:
    base = {"name": "log", "command": ["base"], "args": ["base"]}
    pod = {"containers": [{"name": "log", "image": "l", **own}]}
    merged = container(spec(attempt(pod=pod), template(containers=[base])), "log")
    assert {field: merged.get(field) for field in ("command", "args") if field in merged} == own


def test_the_primary_container_never_has_the_program_of_the_template() -> None:
    of_image = attempt(target={"type": "container"})
    primary = container(spec(of_image, template(containers=[{"name": "primary", "args": ["x"]}])))
    assert not primary.get("args")


def test_labels_and_annotations_of_the_template_are_below_the_others() -> None:
    metadata = {"labels": {"a": "base", "b": "base"}, "annotations": {"c": "base", "d": "base"}}
    own = {"labels": {"a": "pod"}, "annotations": {"c": "pod"}}
    pod = build_pod(attempt(pod={}, pod_metadata=own), template(metadata=metadata))
    assert [pod["metadata"]["labels"][key] for key in "ab"] == ["pod", "base"]
    assert [pod["metadata"]["annotations"][key] for key in "cd"] == ["pod", "base"]


TWO = defaults(
    pod_templates={"a": {"pod_spec": {"hostname": "a"}}, "b": {"pod_spec": {"hostname": "b"}}},
    pod_template="a",
)
NAMED = "trimtab.io/pod-template"


@pytest.mark.parametrize(("name", "hostname"), [(None, "a"), ("b", "b"), ("", None)])
def test_an_annotation_selects_the_template(name: str | None, hostname: str | None) -> None:
    annotations = {} if name is None else {NAMED: name}
    assert spec(attempt(annotations=annotations), TWO).get("hostname") == hostname
    own = {"annotations": annotations}
    assert spec(attempt(pod={}, pod_metadata=own), TWO).get("hostname") == hostname


def test_a_template_that_does_not_exist_is_rejected() -> None:
    with pytest.raises(PodRejected, match=r"no pod template 'c'; .* has: a, b") as error:
        spec(attempt(annotations={NAMED: "c"}), TWO)
    assert error.value.path == f"annotations.{NAMED}"


fields = st.fixed_dictionaries(
    {},
    optional={
        "hostname": st.sampled_from(["a", "", None]),
        "nodeSelector": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
        "volumes": st.lists(
            st.sampled_from([VOLUME, {"name": "x", "emptyDir": {}}]), unique_by=lambda v: v["name"]
        ),
    },
)
containers = st.lists(
    st.builds(
        lambda n, t: {"name": n, "image": "i", "tty": t}, st.sampled_from("abc"), st.booleans()
    ),
    unique_by=lambda c: c["name"],
)
pods = st.builds(lambda f, c: {**f, "containers": c}, fields, containers)


@given(pods, pods)
def test_merging_keeps_every_container_and_the_values_of_the_pod(
    own: dict[str, Any], base: dict[str, Any]
) -> None:
    wanted, configured = attempt(pod=own), template(**base)
    before = wanted.model_dump_json(), configured.model_dump_json()
    pod = spec(wanted, configured)
    assert (wanted.model_dump_json(), configured.model_dump_json()) == before
    names = [each["name"] for each in pod["containers"]]
    given_names = {each["name"] for each in (*own["containers"], *base["containers"])}
    assert sorted(names) == sorted(given_names | {"primary"})
    for each in own["containers"]:
        assert container(pod, each["name"])["tty"] == each["tty"]
    assert pod.get("nodeSelector", {}).items() >= own.get("nodeSelector", {}).items()


@given(pods)
def test_an_empty_template_changes_nothing(own: dict[str, Any]) -> None:
    without_nulls = {name: value for name, value in own.items() if value is not None}
    assert spec(attempt(pod=own), template()) == spec(attempt(pod=without_nulls))
