"""The limits of labels and annotations, and the keys that only Trimtab sets."""

import pytest

from trimtab import kinds, labels
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution import metadata
from trimtab.resolution.limits import Refusal

CONFIG = kinds.by_name("workflow_execution_config")


def given(
    source: str, count: int, *, field: str = "labels", scope: str = "", text: str = "v"
) -> dict[str, ResolvedValue]:
    paths = [f"{field}.{source[0]}{number}" for number in range(count)]
    return {
        path: ResolvedValue(
            path=path,
            value=text,
            source=f"{source}.{path}" if scope and source != "project" else source,
            scope=scope,
        )
        for path in paths
    }


def test_labels_of_all_sources_count_together_and_the_largest_shares_are_named() -> None:
    values = {
        **given("project", 16, scope="project shop"),
        **given("workflow_execution_config", 20, scope="platform"),
        **given("execution", 12),
    }
    metadata.check(values)
    with pytest.raises(Refusal) as refused:
        metadata.check({**values, **given("launch plan", 1)})
    assert str(refused.value) == (
        "labels: 49 labels (20 of workflow_execution_config of platform, 16 of project shop, "
        "12 of the execution, 1 of the launch plan); allowed: at most 48 of all sources together"
    )
    assert (refused.value.path, refused.value.scope) == ("labels", "platform")


def test_annotations_are_counted_in_bytes_of_keys_and_values() -> None:
    text = "ä" * 1024
    values = given("execution", 119, field="annotations", text=text)
    room = labels.MAX_ANNOTATIONS - sum(map(metadata.annotation_bytes, values.values()))
    last = given("launch plan", 1, field="annotations", text="x" * (room - 2))
    metadata.check({**values, **last})
    more = given("launch plan", 1, field="annotations", text="x" * (room - 1))
    with pytest.raises(Refusal, match=r"245761 bytes .*of the execution, \d+ of the launch plan"):
        metadata.check({**values, **more})


def test_other_values_count_as_neither() -> None:
    metadata.check(given("execution", 60, field="environment"))


def test_a_refusal_names_the_called_launch_plan_and_few_sources() -> None:
    values = given("a", 44)
    for source in "bcdef":
        values |= given(source, 1)
    with pytest.raises(Refusal, match=r"49 labels of the call of workflow a/b/c .*and 2 more"):
        metadata.check(values, "workflow a/b/c")


RESERVED = ["trimtab.io/team", "x.trimtab.io/team"]
OTHERS = ["team", "trimtab.io", "nottrimtab.io/a", "app.kubernetes.io/name", "trimtab.io.x.org/a"]


def test_keys_below_our_prefix_are_reserved() -> None:
    for field in metadata.FIELDS:
        assert [k for k in (*RESERVED, *OTHERS) if labels.is_reserved(field, k)] == RESERVED


def test_an_annotation_that_names_a_pod_template_may_be_set_and_a_label_may_not() -> None:
    key = "trimtab.io/pod-template"
    assert CONFIG.parse({"annotations": {key: "gpu"}}, PLATFORM)
    path = f"annotations.{key}"
    metadata.check({path: ResolvedValue(path=path, value="gpu", source="execution")})
    with pytest.raises(Invalid, match="only Trimtab sets"):
        CONFIG.parse({"labels": {key: "gpu"}}, PLATFORM)


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize("key", RESERVED)
def test_a_reserved_key_is_refused_when_a_record_is_written_and_at_admission(
    field: str, key: str
) -> None:
    with pytest.raises(Invalid, match="only Trimtab sets") as refused:
        CONFIG.parse({field: {"team": "a", key: "b"}}, PLATFORM)
    assert refused.value.path == f"{field}.{key}"
    assert CONFIG.read({field: {key: "b"}}, PLATFORM)
    path = f"{field}.{key}"
    with pytest.raises(Refusal, match="is from the execution; allowed: a key that is not below"):
        metadata.check({path: ResolvedValue(path=path, value="b", source="execution")})


def test_keys_of_kubernetes_may_be_set() -> None:
    keys = dict.fromkeys(["app.kubernetes.io/name", "kueue.x-k8s.io/queue-name"], "a")
    assert CONFIG.parse({"labels": keys}, PLATFORM)
