"""The form of a resolution in messages: each value once, and the form of earlier releases."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from trimtab.messages import executions
from trimtab.messages.executions import Admitted, State, UnreadableEvent
from trimtab.messages.resolutions import (
    MAX_BYTES,
    Resolution,
    ResolutionBlob,
    ResolvedValue,
    pack,
    unpack,
)
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


@given(all_resolutions)
def test_a_resolution_is_read_as_it_was_written_in_an_event_and_in_a_blob(
    resolution: Resolution,
) -> None:
    assert executions.parse_event(admitted(resolution).body()) == admitted(resolution)
    content = to_json(resolution.content())
    assert unpack(pack(content)) == resolution
    # Another owner that stores it again stores the same blob.
    assert to_json(unpack(pack(content)).content()) == content


@given(all_resolutions)
def test_a_resolution_in_the_form_of_earlier_releases_is_read(resolution: Resolution) -> None:
    content = json.loads(admitted(resolution).body())
    content["resolution"] = resolution.model_dump(mode="json")
    assert executions.parse_event(json.dumps(content)) == admitted(resolution)


@given(all_resolutions)
def test_each_distinct_value_is_stored_once(resolution: Resolution) -> None:
    content = resolution.content()
    distinct = {value.model_dump_json() for own in resolution.nodes.values() for value in own}
    assert len(content["values"]) == len(distinct)


@pytest.mark.parametrize("own", [False, True])
def test_the_values_of_the_largest_workflow_fit_into_a_message(own: bool) -> None:
    resolution = large(5000, own=own)
    body = admitted(resolution).body()
    assert len(body) < (700_000 if own else 70_000)
    parsed = executions.parse_event(body)
    assert isinstance(parsed, Admitted)
    assert parsed.resolution == resolution
    assert parsed.resolution.value("n4999", "environment.INDEX") == ("4999" if own else None)


def test_the_shared_form_equals_its_golden_file(update_golden: bool) -> None:
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


def test_an_event_names_the_blob_with_the_resolution() -> None:
    blob = ResolutionBlob(digest="ab" * 32, size=300_000)
    event = entry(Admitted, 0, blob=blob)
    assert executions.parse_event(event.body()) == event
    state = State()
    state.apply(event)
    assert (state.is_admitted, state.resolution, state.resolution_blob) == (True, None, blob)


@pytest.mark.parametrize(
    "fields",
    [
        {"resolution": None},
        {"blob": {"digest": "ab" * 32, "size": 1}},
        {"resolution": None, "blob": {"digest": "../ab", "size": 1}},
    ],
)
def test_an_event_with_both_or_neither_is_unreadable(fields: dict[str, Any]) -> None:
    content = json.loads(GOLDEN.read_text()) | fields
    assert isinstance(executions.parse_event(json.dumps(content)), UnreadableEvent)


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (b"", "incomplete"),
        (b"PK", "not compressed"),
        (pack(b"{}")[:-1], "incomplete"),
        (pack(b"{}"), "revision: Field required"),
        (pack(b" " * (MAX_BYTES + 1)), f"more than {MAX_BYTES} bytes"),
    ],
)
def test_a_blob_that_has_no_resolution_is_refused_with_the_reason(
    blob: bytes, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        unpack(blob)
