"""The form of a resolution in messages: each value once, and the form of earlier releases."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.messages import executions, resolutions
from trimtab.messages.executions import Admitted, UnreadableEvent
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.testing import entry

GOLDEN = Path(__file__).parent / "wire" / "forms" / "execution.admitted.json"

paths = st.sampled_from([f"environment.V{n}" for n in range(6)] + ["retries", "cluster"])
values = st.builds(
    ResolvedValue,
    path=paths,
    value=st.sampled_from([None, 0, 1, "1", True, "a", {"k": [1]}]),
    source=st.sampled_from(["task", "engine"]),
    revision=st.sampled_from([None, 3]),
)
several = st.lists(values, max_size=8, unique_by=lambda value: value.path).map(
    lambda own: tuple(sorted(own, key=lambda value: value.path))
)
all_resolutions = st.builds(
    Resolution,
    revision=st.just(7),
    executor=st.just("process"),
    isolation=st.sampled_from(["", "Landlock ABI 7: files"]),
    pods=st.sampled_from([{}, {"scheduler_name": "volcano"}]),
    execution=several,
    nodes=st.dictionaries(st.sampled_from([f"n{n}" for n in range(5)]), several),
)


def admitted(resolution: Resolution) -> Admitted:
    return entry(Admitted, 1, resolution=resolution)


def large(nodes: int, *, own: bool) -> Resolution:
    """Return a resolution of nodes with 20 values, of which one may be of each node alone."""
    common = [
        ResolvedValue(path=f"labels.key{n:02}", value="x" * 60, source="task") for n in range(20)
    ]

    def values_of(number: int) -> tuple[ResolvedValue, ...]:
        index = ResolvedValue(path="environment.INDEX", value=f"{number}", source="task")
        return (index, *common) if own else tuple(common)

    return Resolution(
        revision=7, executor="process", nodes={f"n{n}": values_of(n) for n in range(nodes)}
    )


@given(all_resolutions, st.booleans())
def test_a_resolution_is_read_as_it_was_written_in_either_form(
    resolution: Resolution, shared: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if shared:
            patch.setattr(resolutions, "MOST_PLAIN_BYTES", 0)
        body = admitted(resolution).body()
    assert ("values" in json.loads(body)["resolution"]) == shared
    assert executions.parse_event(body) == admitted(resolution)


@pytest.mark.parametrize("own", [False, True])
def test_the_values_of_the_largest_workflow_fit_into_a_message(own: bool) -> None:
    resolution = large(5000, own=own)
    body = admitted(resolution).body()
    assert len(body) < (700_000 if own else 70_000)
    parsed = executions.parse_event(body)
    assert isinstance(parsed, Admitted)
    assert parsed.resolution == resolution
    assert parsed.resolution.value("n4999", "environment.INDEX") == ("4999" if own else None)


def test_a_resolution_that_an_earlier_release_could_write_has_the_form_that_it_reads() -> None:
    resolution = large(100, own=True)
    content = json.loads(admitted(resolution).body())["resolution"]
    assert content == resolution.model_dump(mode="json")


def test_the_shared_form_equals_its_golden_file(
    monkeypatch: pytest.MonkeyPatch, update_golden: bool
) -> None:
    monkeypatch.setattr(resolutions, "MOST_PLAIN_BYTES", 0)
    everywhere = ResolvedValue(path="retries", value=0, source="engine")
    limit = ResolvedValue(
        path="resources.limits.cpu",
        value="2",
        source="task_resource.limits.cpu",
        scope="project-domain flyteexamples/development",
        revision=3,
        note="lowered from 3",
    )
    index = ResolvedValue(path="environment.INDEX", value="2", source="with_overrides")
    event = admitted(
        Resolution(
            revision=7,
            executor="process",
            execution=(ResolvedValue(path="max_parallelism", value=5, source="execution"),),
            nodes={"n0": (limit, everywhere), "n1": (limit, everywhere), "n2": (index, everywhere)},
        )
    )
    text = json.dumps(json.loads(event.body()), indent=2) + "\n"
    if update_golden:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert executions.parse_event(GOLDEN.read_text()) == event


BROKEN: list[dict[str, Any]] = [
    {"values": 5},
    {"values": [{"path": "a"}]},
    {"common": [9]},
    {"common": None},
    {"profiles": {"a": 1}},
    {"nodes": {"n0": [7]}},
    {"nodes": {"n0": []}},
    {"nodes": {"n0": 0}},
    {"nodes": []},
    {"nodes": {"n0": ["0"]}},
]


@pytest.mark.parametrize("fields", BROKEN)
def test_a_broken_table_makes_the_event_unreadable(fields: dict[str, Any]) -> None:
    content = json.loads(GOLDEN.read_text())
    content["resolution"] |= fields
    assert isinstance(executions.parse_event(json.dumps(content)), UnreadableEvent)
