"""Types that workflows declare for their inputs, and texts that are read by them."""

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from trimtab import Directory, File, task, workflow
from trimtab.cli import inputs
from trimtab.errors import Invalid
from trimtab.workflows.graphs.graph import Workflow


@task
def use(value: Any) -> None:
    pass


def with_type(annotation: Any) -> Workflow:
    """Return a workflow whose input ``value`` has an annotation."""

    def one(value: Any) -> None:
        use(value=value)

    one.__annotations__["value"] = annotation
    return workflow(one).graph("v", "")


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "moon", "moon"),
        (str, '"moon"', '"moon"'),
        (str, "3", "3"),
        (str, "", ""),
        (str | None, "null", "null"),
        (int, "3", 3),
        (int | None, "null", None),
        (float, "3", 3),
        (float, "0.5", 0.5),
        (bool, "true", True),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (Literal["a", "b"], "a", "a"),
        (Literal["a", 1], "a", "a"),
        (Literal["a", 1], "1", 1),
        (datetime, "2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        (File, "s3://bucket/rows.csv", "s3://bucket/rows.csv"),
        (Directory, "/data/rows", "file:///data/rows"),
        (Any, '"moon"', "moon"),
    ],
)
def test_a_text_is_read_by_the_declared_type(annotation: Any, text: str, value: Any) -> None:
    assert inputs.read(with_type(annotation), {"value": text}) == {"value": value}


@pytest.mark.parametrize(
    ("annotation", "text", "allowed"),
    [
        (int, "three", "an integer, such as 3"),
        (int, "3.0", "an integer"),
        (int, "true", "an integer"),
        (float, "true", "a number"),
        (float, "NaN", "a number"),
        (float, "1e999", "a number"),
        (list[float], "[-Infinity]", "a JSON list"),
        (bool, "1", "true or false"),
        (list[int], "1", "a JSON list"),
        (Literal["a", "b"], "c", '"a" or "b"'),
        (datetime, "monday", "a time such as 2030-01-31T12:00:00Z"),
        (Annotated[int, Field(ge=3)], "2", "at least 3"),
        (int | list[int], "a", r"an integer, such as 3 or a JSON list"),
        (dict[str, int], "[]", "a JSON object"),
        (Any, "moon", "JSON, such as"),
    ],
)
def test_another_text_is_refused_with_the_input_and_an_example(
    annotation: Any, text: str, allowed: str
) -> None:
    with pytest.raises(Invalid, match=allowed) as caught:
        inputs.read(with_type(annotation), {"value": text})
    assert (caught.value.path, caught.value.value) == ("input value", text)


def test_a_wrong_part_of_an_input_is_named() -> None:
    declared = with_type(dict[str, list[int]])
    with pytest.raises(Invalid, match=r"^input value\.a\.1: .*an integer"):
        inputs.read(declared, {"value": '{"a": [1, "two"]}'})


def test_an_input_of_an_earlier_release_may_be_null() -> None:
    earlier = with_type(Any).model_copy(update={"input_types": {"value": "integer"}})
    assert inputs.read(earlier, {"value": "null"}) == {"value": None}
    with pytest.raises(Invalid, match="an integer, such as 3"):
        inputs.read(earlier, {"value": "x"})


def test_an_unknown_input_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(Invalid, match=r"inputs value; did you mean 'value'"):
        inputs.read(with_type(str), {"valeu": "moon"})


def test_all_missing_inputs_are_named() -> None:
    @workflow
    def pair(first: int, second: int) -> None:
        use(value=first)

    with pytest.raises(Invalid, match="because pair requires first, second"):
        pair.graph("v", "").bind_inputs({})
