"""The queue of an execution: the first one whose attributes hold all of its tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.propeller.building import PROJECT_DOMAIN, record, request, settings
from trimtab.errors import Unreadable
from trimtab.levels import PLATFORM
from trimtab.messages import subjects
from trimtab.messages.events import Event, LaterChange, QueueChanged
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import queues, resolve

BATCH = QueueChanged(name="batch", attributes=("critical", "gpu", "spot"))
GPU = QueueChanged(name="gpu", attributes=("gpu", "critical"), system="child_queue")
LATER = LaterChange(subject=subjects.queue("h"), text="{}")
TAGS = st.lists(st.sampled_from("abcd"), unique=True, max_size=4)


def tagged(*tags: str) -> Event:
    return record("execution_queue", {"tags": list(tags)})


def found(after: Settings) -> dict[str, ResolvedValue]:
    return {value.path: value for value in queues.values(after, PROJECT_DOMAIN)}


def queue_names(after: Settings) -> list[str]:
    resolution = resolve(request(), after, Capabilities("any"))
    return [str(value.value) for value in resolution.execution if value.path == "queue"]


def test_the_first_queue_by_name_that_has_all_tags_is_selected_and_explained() -> None:
    values = found(settings(GPU, BATCH, tagged("critical", "gpu")))
    assert values["execution_queue.tags"].note == ""
    assert values["queue"] == ResolvedValue(
        path="queue",
        value="batch",
        source="execution_queue.tags",
        scope=str(PROJECT_DOMAIN),
        revision=3,
        note="first of batch, gpu whose attributes hold critical, gpu",
    )
    system = ResolvedValue(
        path="queue_system", value="kueue", source="queue", scope="queue batch", revision=2
    )
    assert values["queue_system"] == system


def test_the_only_queue_that_has_all_tags_is_explained_so() -> None:
    values = found(settings(GPU, BATCH, tagged("spot")))
    assert (values["queue"].value, values["queue"].note) == (
        "batch",
        "the only queue whose attributes hold spot",
    )


def test_a_queue_that_has_one_of_two_tags_is_not_selected() -> None:
    assert queue_names(settings(BATCH, GPU, tagged("gpu", "slow"))) == []


def test_tags_that_no_queue_has_are_recorded_with_the_known_queues() -> None:
    values = found(settings(GPU, BATCH, tagged("gpu", "slow")))
    assert values.keys() == {"execution_queue.tags"}
    note = "no queue has all of the tags gpu, slow; queues: batch, gpu"
    assert values["execution_queue.tags"].note == note
    assert found(settings(tagged("a")))["execution_queue.tags"].note.endswith("; queues: none")


def test_without_tags_there_is_no_queue() -> None:
    assert found(settings(BATCH)) == {}
    unset = record("execution_queue", {"unset": ["tags"]})
    broader = record("execution_queue", {"tags": ["gpu"]}, PLATFORM)
    assert found(settings(BATCH, broader, unset)) == {}


def test_the_clusters_are_those_of_the_selected_queue() -> None:
    east = BATCH.model_copy(update={"clusters": ("east",)})
    selected = queues.select(settings(east, GPU, tagged("gpu")), PROJECT_DOMAIN)
    assert selected is not None
    assert selected.clusters == ("east",)
    assert queues.select(settings(east, GPU, tagged("slow")), PROJECT_DOMAIN) is None


def test_a_queue_of_a_later_release_refuses_only_what_it_may_take_first() -> None:
    with pytest.raises(Refusal, match="the queue 'h' was declared by a later release"):
        resolve(request(), settings(LATER, tagged("slow")), Capabilities("any"))
    assert queue_names(settings(LATER, GPU, tagged("gpu"))) == ["gpu"]
    assert queue_names(settings(LATER, GPU)) == []
    after = settings(LATER, GPU.model_copy(update={"name": "i"}), tagged("gpu"))
    with pytest.raises(Unreadable):
        queues.select(after, PROJECT_DOMAIN)


@given(st.dictionaries(st.sampled_from("pqrs"), TAGS), TAGS)
def test_selection_agrees_with_a_search_of_every_queue(
    declared: dict[str, list[str]], tags: list[str]
) -> None:
    events = [QueueChanged(name=n, attributes=tuple(has)) for n, has in declared.items()]
    selected = queues.select(settings(*events, tagged(*tags)), PROJECT_DOMAIN)
    expected = None
    for name in "pqrs":
        misses = [tag for tag in tags if tag not in declared.get(name, [])]
        if expected is None and tags and name in declared and not misses:
            expected = name
    assert (selected and selected.name) == expected
