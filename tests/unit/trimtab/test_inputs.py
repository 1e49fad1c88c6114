"""Types that workflows declare for their inputs, and texts that are read by them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pytest

from trimtab import task, workflow
from trimtab.cli import inputs
from trimtab.errors import Invalid
from trimtab.workflows.graph import Workflow

if TYPE_CHECKING:
    from decimal import Decimal as Hidden


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
    ("annotation", "type_"),
    [
        (str, "string"),
        (int, "integer"),
        (float, "number"),
        (bool, "boolean"),
        (list, "array"),
        (tuple[int, ...], "array"),
        (Sequence[str], "array"),
        (dict, "object"),
        (Mapping[str, int], "object"),
        (str | None, "string"),
        (Optional[int], "integer"),  # noqa: UP045  # users write it
        (Annotated[str, "a note"], "string"),
        (Literal["a", "b"], "string"),
        (Literal["a", 1], None),
        (int | str, None),
        (bytes, None),
        (Any, None),
        ({}, None),
    ],
)
def test_an_annotation_declares_a_type_of_json_or_none(annotation: Any, type_: str | None) -> None:
    assert with_type(annotation).input_types.get("value") == type_


def test_an_annotation_for_the_type_checker_only_declares_nothing() -> None:
    def one(value: "Hidden") -> None:
        use(value=value)

    assert workflow(one).graph("v", "").input_types == {}


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


def test_an_unknown_input_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(Invalid, match=r"inputs value; did you mean 'value'"):
        inputs.read(with_type(str), {"valeu": "moon"})


def test_all_missing_inputs_are_named() -> None:
    @workflow
    def pair(first: int, second: int) -> None:
        use(value=first)

    with pytest.raises(Invalid, match="because pair requires first, second"):
        pair.graph("v", "").bind_inputs({})
