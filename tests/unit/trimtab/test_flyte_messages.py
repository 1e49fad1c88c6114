"""Documents of kinds as messages of Flyte 1, and what a write by a message leaves as it is."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes, PluginOverride
from flyteidl.core.security_pb2 import OAuth2TokenRequest, Secret
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.flyte import messages
from trimtab.kinds import Kind
from trimtab.levels import Scope

SCOPE = Scope("development", "shop")
Document = dict[str, Any]


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries({}, optional=fields)


names = st.sampled_from(["a", "b.c", "team", "x-1"])
texts = st.sampled_from(["v", "Ü", "two words", "a.b/c"])
label_values = st.sampled_from(["v", "v.w", "1"])
quantities = st.sampled_from(["1", "500m", "2Gi", "1e3"])
wholes = st.sampled_from(["1", "2"])
groups = optional(cpu=quantities, memory=quantities, gpu=wholes, ephemeral_storage=quantities)
secrets = st.fixed_dictionaries(
    {"group": texts},
    optional={
        "key": texts,
        "group_version": texts,
        "mount_requirement": st.sampled_from(["ENV_VAR", "FILE"]),
        "env_var": st.sampled_from(["A", "B_1"]),
    },
)
clients = st.fixed_dictionaries({"client_id": texts, "client_secret": secrets})
tokens = st.fixed_dictionaries(
    {"name": st.sampled_from(["TOKEN", "T2"]), "client": clients},
    optional={"token_endpoint": texts, "idp_discovery_endpoint": texts},
)
identities = optional(
    iam_role=texts,
    k8s_service_account=st.sampled_from(["default", "robot"]),
    oauth2_client=clients,
    execution_identity=texts,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
objects = st.dictionaries(names, json_values, min_size=1, max_size=2)
environments = st.one_of(
    st.fixed_dictionaries({"name": texts, "type": texts, field: objects})
    for field in ("extant", "spec")
)
assignments = st.fixed_dictionaries(
    {"execution_env": environments},
    optional={"node_ids": st.lists(texts, min_size=1, max_size=2), "task_type": texts},
)
overrides = st.fixed_dictionaries(
    {"plugin_id": st.lists(texts, min_size=1, max_size=2, unique=True)},
    optional={"missing_plugin_behavior": st.just("USE_DEFAULT")},
)
DOCUMENTS: Mapping[str, st.SearchStrategy[Document]] = {
    "task_resource": optional(defaults=groups, limits=groups),
    "cluster_resource": optional(attributes=st.dictionaries(names, texts)),
    "execution_queue": optional(tags=st.lists(texts, unique=True)),
    "execution_cluster_label": optional(value=texts),
    "quality_of_service": st.one_of(
        st.fixed_dictionaries({"tier": st.sampled_from(["HIGH", "MEDIUM", "LOW"])}),
        st.fixed_dictionaries({"queueing_budget": st.sampled_from(["600s", "1.500s", "0s"])}),
        st.just({}),
    ),
    "plugin_override": optional(overrides=st.dictionaries(names, overrides)),
    "workflow_execution_config": optional(
        max_parallelism=st.integers(1, 2**31 - 1),
        security_context=optional(
            run_as=identities, secrets=st.lists(secrets), tokens=st.lists(tokens, max_size=2)
        ),
        raw_output_data_config=optional(output_location_prefix=texts),
        labels=st.dictionaries(names, label_values),
        annotations=st.dictionaries(names, texts),
        interruptible=st.booleans(),
        overwrite_cache=st.just(True),
        envs=st.dictionaries(st.sampled_from(["A", "B_1"]), texts | st.just("")),
        execution_env_assignments=st.lists(assignments, max_size=2),
    ),
    "cluster_assignment": optional(cluster_pool_name=texts),
}
"""Documents that a message carries whole, by kind."""

NATIVE: Mapping[str, st.SearchStrategy[Document]] = {
    "task_resource": optional(
        over_limit=st.sampled_from(["refuse", "clamp"]), mirror_limits_request=st.booleans()
    ),
    "execution_cluster_label": optional(any=st.booleans()),
    "workflow_execution_config": optional(overwrite_cache=st.just(False)),
}
"""Fields that no message carries, by kind."""


def stored_document(kind: Kind, document: Document) -> Document:
    return kind.to_document(kind.parse(document, SCOPE))


def as_set(kind: Kind, document: Document) -> tuple[Document, frozenset[str]]:
    return kind.schema.flatten(document), frozenset(document.get("unset", ()))


@st.composite
def carried(draw: st.DrawFn) -> tuple[Kind, Document]:
    name = draw(st.sampled_from(sorted(DOCUMENTS)))
    kind = kinds.by_name(name)
    return kind, stored_document(kind, draw(DOCUMENTS[name]))


@st.composite
def stored(draw: st.DrawFn, kind: Kind) -> Document:
    """Return any valid document of the kind, with what no message carries."""
    document = {**draw(DOCUMENTS[kind.name]), **draw(NATIVE.get(kind.name, st.just({})))}
    if kind.alternatives and kind.alternatives <= document.keys():
        del document[draw(st.sampled_from(sorted(kind.alternatives)))]
    document = stored_document(kind, document)
    flat = kind.schema.flatten(document)
    present = {*flat, *(branch for path in flat for branch in kind.schema.branches(path))}
    free = sorted((kind.schema.paths - present) | kind.schema.maps.keys())
    free = [path for path in free if path.partition(".")[0] not in kind.field_levels]
    unset = draw(st.lists(st.sampled_from(free), unique=True)) if free else []
    unset = [path for path in unset if not {*unset} & {*kind.schema.branches(path)}]
    return {**document, **({"unset": unset} if unset else {})}


@st.composite
def writes(draw: st.DrawFn) -> tuple[Kind, Document, Document]:
    kind = kinds.by_name(draw(st.sampled_from(sorted(DOCUMENTS))))
    other = draw(stored(kind))
    return kind, draw(stored(kind)), read(kind, other)


def read(kind: Kind, document: Document) -> Document:
    """Return what a client that reads the document writes back."""
    return messages.from_message(messages.to_message(kind, document), SCOPE)[1]


@given(carried())
def test_a_message_carries_a_document(given: tuple[Kind, Document]) -> None:
    kind, document = given
    message = messages.to_message(kind, document)
    sent = MatchingAttributes.FromString(message.SerializeToString())
    assert messages.kind_of(sent) is kind
    assert messages.from_message(sent, SCOPE) == (kind, document)


@given(writes())
def test_writing_back_what_was_read_changes_nothing(
    given: tuple[Kind, Document, Document],
) -> None:
    kind, document, _ = given
    revised = messages.revised(kind, document, read(kind, document))
    assert as_set(kind, revised) == as_set(kind, document)


@given(writes())
def test_a_write_replaces_what_the_message_carries(given: tuple[Kind, Document, Document]) -> None:
    kind, document, written = given
    revised = messages.revised(kind, document, written)
    expected = kind.update(read(kind, document), written)
    assert as_set(kind, read(kind, revised)) == as_set(kind, expected)


@given(writes())
def test_native_parts_survive_a_write(given: tuple[Kind, Document, Document]) -> None:
    kind, document, written = given
    revised = messages.revised(kind, document, written)
    kind.parse(revised, SCOPE)
    flat, after = kind.schema.flatten(document), kind.schema.flatten(revised)
    native = {path for path in flat if path.partition(".")[0] in NATIVE_FIELDS[kind.name]}
    if not kind.alternatives & written.keys():
        assert {path: flat[path] for path in native} == {path: after.get(path) for path in native}
    if flat.get("overwrite_cache") is False and "overwrite_cache" not in written:
        assert after["overwrite_cache"] is False
    given_paths = {*after, *(branch for path in after for branch in kind.schema.branches(path))}
    for path in document.get("unset", ()):
        is_quantity = kind.name == "task_resource" and path.split(".")[0] in ("defaults", "limits")
        if not is_quantity and (path in kind.schema.maps or path not in given_paths):
            assert path in revised["unset"]


NATIVE_FIELDS: Mapping[str, frozenset[str]] = {
    name: kinds.by_name(name).flyte.native_fields - {"execution_env_assignments"}  # type: ignore[union-attr]
    for name in DOCUMENTS
}


def message(**target: Any) -> MatchingAttributes:
    return json_format.ParseDict(target, MatchingAttributes())


def document(**target: Any) -> Document:
    return messages.from_message(message(**target), SCOPE)[1]


def test_a_quantity_of_zero_is_unset() -> None:
    written = document(task_resource_attributes={"limits": {"gpu": "0Gi", "cpu": "1"}})
    assert written == {"limits": {"cpu": "1"}, "unset": ["limits.gpu"]}
    kind = kinds.by_name("task_resource")
    sent = messages.to_message(kind, written).task_resource_attributes
    assert (sent.limits.gpu, sent.limits.cpu) == ("0", "1")
    # A group that is unset natively is read as zeros.
    sent = messages.to_message(kind, {"unset": ["defaults"]}).task_resource_attributes
    assert (sent.defaults.cpu, sent.defaults.ephemeral_storage) == ("0", "0")


def test_a_native_limit_of_zero_stays_where_a_message_has_zero() -> None:
    kind, none_allowed = kinds.by_name("task_resource"), {"limits": {"gpu": "0", "cpu": "1"}}
    written = document(task_resource_attributes={"limits": {"gpu": "0", "cpu": "2"}})
    assert messages.revised(kind, none_allowed, written) == {"limits": {"gpu": "0", "cpu": "2"}}


def test_of_a_group_that_is_unset_the_message_sets_one_quantity() -> None:
    written = document(task_resource_attributes={"limits": {"cpu": "1", "gpu": "0"}})
    revised = messages.revised(kinds.by_name("task_resource"), {"unset": ["limits"]}, written)
    assert revised == {"limits": {"cpu": "1"}, "unset": ["limits.gpu"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"storage": "1Gi"}, {"ephemeral_storage": "1Gi"}),
        ({"storage": "1Gi", "ephemeral_storage": "2Gi"}, {"ephemeral_storage": "2Gi"}),
        ({"storage": "0", "ephemeral_storage": "2Gi"}, {"ephemeral_storage": "2Gi"}),
    ],
)
def test_storage_is_ephemeral_storage(given: Document, expected: Document) -> None:
    assert document(task_resource_attributes={"limits": given}) == {"limits": expected}


def test_the_last_of_two_overrides_counts() -> None:
    twice = [{"task_type": "d", "plugin_id": ["5"]}, {"task_type": "d", "plugin_id": ["6"]}]
    expected = {"overrides": {"d": {"plugin_id": ["6"]}}}
    assert document(plugin_overrides={"overrides": twice}) == expected


def test_an_override_with_only_a_task_type_is_kept() -> None:
    expected = {"overrides": {"d": {"missing_plugin_behavior": "FAIL"}}}
    written = document(plugin_overrides={"overrides": [{"task_type": "d"}]})
    assert written == expected
    sent = messages.to_message(kinds.by_name("plugin_override"), written)
    assert list(sent.plugin_overrides.overrides) == [PluginOverride(task_type="d")]


def test_a_label_excludes_any_cluster() -> None:
    kind, any_cluster = kinds.by_name("execution_cluster_label"), {"any": True}
    written = document(execution_cluster_label={"value": "gpu"})
    assert messages.revised(kind, any_cluster, written) == {"value": "gpu"}
    assert messages.revised(kind, any_cluster, document(execution_cluster_label={})) == any_cluster


@pytest.mark.parametrize("target", list(messages._TARGETS.values()))
def test_a_message_without_fields_is_an_empty_document(target: str) -> None:
    written = messages.from_message(message(**{target: {}}), SCOPE)
    assert written[1] == {}
    assert messages.to_message(*written).WhichOneof("target") == target


def test_empty_inner_messages_are_absent() -> None:
    config = {"labels": {}, "envs": {}, "security_context": {"run_as": {}}, "interruptible": None}
    assert document(workflow_execution_config=config) == {}
    assert document(quality_of_service={"spec": {}}) == {}


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (
            {"task_resource_attributes": {"limits": {"cpu": "lots"}}},
            "task_resource_attributes.limits.cpu",
        ),
        ({"quality_of_service": {"tier": 9}}, "quality_of_service.tier"),
        (
            {"quality_of_service": {"spec": {"queueing_budget": "-5s"}}},
            "quality_of_service.spec.queueing_budget",
        ),
        (
            {"workflow_execution_config": {"labels": {"values": {"bad key": "v"}}}},
            "workflow_execution_config.labels.values.bad key",
        ),
        (
            {"workflow_execution_config": {"envs": {"values": [{"key": "1A"}]}}},
            "workflow_execution_config.envs.values.1A",
        ),
        (
            {"workflow_execution_config": {"envs": {"values": [{"value": "v"}]}}},
            "workflow_execution_config.envs.values.0",
        ),
        (
            {"workflow_execution_config": {"max_parallelism": -5}},
            "workflow_execution_config.max_parallelism",
        ),
        (
            {"plugin_overrides": {"overrides": [{"missing_plugin_behavior": 9}]}},
            "plugin_overrides.overrides.0",
        ),
        (
            {
                "workflow_execution_config": {
                    "security_context": {"secrets": [{"group": "g", "mount_requirement": 7}]}
                }
            },
            "workflow_execution_config.security_context.secrets.0.mount_requirement",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_its_name_in_the_message(target: Document, path: str) -> None:
    written = message(**target)
    kind = messages.kind_of(written)
    assert kind is not None
    with pytest.raises(Invalid) as error:
        messages.from_message(written, SCOPE)
    assert messages.in_message(kind, error.value).path == path


def test_numbers_that_json_does_not_have_are_refused() -> None:
    written = MatchingAttributes()
    assignment = written.workflow_execution_config.execution_env_assignments.add()
    assignment.execution_env.spec.fields["x"].number_value = float("nan")
    with pytest.raises(Invalid, match="workflow_execution_config"):
        messages.from_message(written, SCOPE)


def test_the_enums_of_secrets_have_the_numbers_of_flyte() -> None:
    context = {
        "secrets": [{"group": "g", "mount_requirement": "FILE"}],
        "tokens": [
            {
                "name": "T",
                "type": "CLIENT_CREDENTIALS",
                "client": {"client_id": "c", "client_secret": {"group": "g"}},
            }
        ],
    }
    kind = kinds.by_name("workflow_execution_config")
    sent = messages.to_message(kind, {"security_context": context}).workflow_execution_config
    assert sent.security_context.secrets[0].mount_requirement == Secret.FILE
    token = sent.security_context.tokens[0]
    assert token.type == OAuth2TokenRequest.CLIENT_CREDENTIALS


def test_a_large_message_costs_as_much_as_its_size() -> None:
    kind = kinds.by_name("cluster_resource")

    def cost(count: int) -> float:
        stored = {"attributes": {f"name{number}": "v" for number in range(count)}}
        started = time.process_time()
        messages.revised(kind, stored, read(kind, stored))
        return time.process_time() - started

    # With a cost of the square, it would be 64 times as much.
    assert min(cost(8_000) for _ in range(2)) < 24 * min(cost(1_000) for _ in range(3))
