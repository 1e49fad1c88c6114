"""The objects of a namespace, and the errors that are found before any of them is applied."""

from pathlib import Path

import pytest

from trimtab.errors import Conflict, Rejected
from trimtab.levels import Scope
from trimtab.templates.dumping import dump
from trimtab.templates.files import read_templates
from trimtab.templates.manifests import Manifest
from trimtab.templates.rendering import Source, render
from trimtab.templates.scopes import in_namespace

EXAMPLES = Path(__file__).parents[3] / "examples" / "cluster-resource-templates"
TARGET = Scope("development", "flyteexamples")
OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\n"


def rendered(*texts: str, **attributes: str) -> list[Manifest]:
    """Render files with these texts for one project and domain."""
    sources = [Source(f"{number}.yaml", text) for number, text in enumerate(texts)]
    return render(sources, "flyteexamples-development", {TARGET: attributes})


def test_the_example_templates_render_exactly() -> None:
    values = {"projectQuotaCpu": "1000", "projectQuotaMemory": "5Ti"}
    found = render(
        read_templates([EXAMPLES]).sources, "flyteexamples-development", {TARGET: values}
    )
    assert [dump(manifest).decode() for manifest in found] == [
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: flyteexamples-development\n",
        "apiVersion: v1\nkind: ResourceQuota\nmetadata:\n  name: project-quota\n"
        "  namespace: flyteexamples-development\nspec:\n  hard:\n    limits.cpu: 1000\n"
        "    limits.memory: 5Ti\n",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: demo\n"
        "  namespace: flyteexamples-development\n  annotations:\n"
        "    example.org/owner: flyteexamples\n",
    ]


def test_a_record_cannot_set_the_reserved_names() -> None:
    text = OBJECT + "data: {all: '{{ namespace }} {{ project }} {{ domain }}'}"
    [found] = rendered(text, namespace="kube-system", project="other", domain="other")
    assert found.body["data"] == {"all": "flyteexamples-development flyteexamples development"}


def test_a_value_may_use_the_reserved_names_and_no_others() -> None:
    text = OBJECT + "data: {role: '{{ role }}', other: '{{ other }}'}"
    [found] = rendered(text, role="arn:{{ project }}/{{ domain }}", other="{{ role }}")
    assert found.body["data"] == {"role": "arn:flyteexamples/development", "other": "{{ role }}"}


def test_an_object_without_a_namespace_is_put_into_the_computed_one() -> None:
    [found] = rendered(OBJECT + "  labels: {a: b}")
    assert found.body["metadata"] == {"name": "settings", "labels": {"a": "b"}}
    assert in_namespace(found, "flyteexamples-development").body["metadata"] == {
        "name": "settings",
        "namespace": "flyteexamples-development",
        "labels": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("v1", "Namespace"), ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding")],
)
def test_a_cluster_scoped_object_gets_no_namespace(api_version: str, kind: str) -> None:
    name = "flyteexamples-development"
    [found] = rendered(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}")
    assert in_namespace(found, name).body["metadata"] == {"name": name}


def test_a_value_cannot_move_an_object_to_another_namespace() -> None:
    with pytest.raises(Rejected, match="is in namespace 'kube-system'; allowed: 'flyteexamples-"):
        rendered(OBJECT + "  namespace: '{{ where }}'", where="kube-system")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind: Role\nmetadata: {name: x}", "template 0.yaml: an object needs apiVersion"),
        ("apiVersion: v1\nmetadata: {name: x}", "an object needs kind"),
        ("apiVersion: v1\nkind: Role\nmetadata: {}", "an object needs metadata.name"),
        ("apiVersion: v1\nkind: Role", "an object needs metadata.name"),
        ("apiVersion: v1\nkind: Role\nmetadata: x", "metadata is not a mapping"),
        (
            "apiVersion: v1\nkind: Role\nmetadata: {name: {{ n }}}",
            "metadata.name is 5, which is not text",
        ),
        ("apiVersion: v1\nkind: Role\nmetadata: {generateName: x}", "Role has metadata.generateN"),
        ("apiVersion: v1\nkind: List\nitems: []", "List is a list; write its items as documents"),
        ("apiVersion: v1\nkind: RoleList\nitems: []", "RoleList is a list"),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: kube-system}",
            "Namespace/kube-system is another namespace; allowed: 'flyteexamples-development'",
        ),
        (
            "apiVersion: v1\nkind: Role\nmetadata: {name: " + "x" * 254 + "}",
            r"metadata.name is 'x+… \(254 characters\)'; allowed are at most 253 characters",
        ),
    ],
)
def test_an_object_without_an_identity_is_rejected(text: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        rendered(text, n="5")


def test_a_missing_value_is_named_with_its_file_and_the_setting_to_set() -> None:
    with pytest.raises(Rejected) as caught:
        rendered(OBJECT, OBJECT + "data: {a: {{ quota }}, b: {{ team }}}")
    assert str(caught.value) == (
        "template 1.yaml: {{ quota }} (line 5), {{ team }} (line 5) has no value for "
        "project-domain flyteexamples/development in namespace flyteexamples-development; set it "
        "in the attributes of cluster_resource, in customData or in templateData"
    )


def test_a_missing_value_suggests_the_name_that_was_meant() -> None:
    """Flyte's configuration loader writes the keys of maps in lower case."""
    with pytest.raises(Rejected, match="did you mean 'projectQuotaCpu'"):
        rendered(OBJECT + "data: {a: {{ projectquotacpu }}}", projectQuotaCpu="4")


def test_a_name_may_have_253_characters() -> None:
    text = "apiVersion: v1\nkind: Role\nmetadata: {name: " + "x" * 253 + "}"
    [found] = rendered(text)
    assert len(found.name) == 253


def test_two_templates_cannot_have_the_same_object() -> None:
    with pytest.raises(Rejected, match=r"1.yaml: ConfigMap/settings is also an object of 0.yaml"):
        rendered(OBJECT, OBJECT)


def test_kinds_of_two_api_groups_are_two_objects() -> None:
    role = "apiVersion: {0}/v1\nkind: Role\nmetadata: {{name: x}}"
    assert len(rendered(role.format("a.example"), role.format("b.example"))) == 2


def test_projects_may_share_a_namespace_while_their_manifests_are_equal() -> None:
    shared = {TARGET: {"a": "1"}, Scope("development", "other"): {"a": "1"}}
    assert (
        len(render([Source("a.yaml", OBJECT + "data: {a: {{ a }}}")], "development", shared)) == 1
    )


def test_projects_that_would_overwrite_each_other_are_rejected() -> None:
    shared: dict[Scope, dict[str, str]] = {TARGET: {}, Scope("development", "other"): {}}
    source = Source("a.yaml", OBJECT + "data: {a: {{ project }}}")
    with pytest.raises(Conflict, match=r"flyteexamples/development and .* other/development"):
        render([source], "development", shared)
