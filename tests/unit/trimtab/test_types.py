"""Types that functions declare: schemas, conversion at the calls of tasks, and errors."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from trimtab import Directory, File, LaunchPlan, task, workflow
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.definitions.types import declared_type
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.values.checking import check
from trimtab.workflows.values.fitting import may_fit
from trimtab.workflows.values.schemas import check_schema

if TYPE_CHECKING:
    from decimal import Context as Hidden


class Mode(Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclass
class Layer:
    width: int
    inner: "list[Layer]" = field(default_factory=list)


class Config(BaseModel):
    layers: tuple[Layer, ...]
    mode: Mode = Mode.FAST
    rate: Annotated[float, Field(gt=0, description="Steps per second.")] = 0.1


class Point(NamedTuple):
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (None, {"type": "null"}),
        (list, {"type": "array"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045  # users write it
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Mode, {"type": "string", "enum": ["fast", "slow"]}),
        (datetime, {"type": "string", "format": "date-time"}),
        (File, {"type": "string", "format": "file"}),
        (bytes, {"type": "string"}),
        (Annotated[str, Field(pattern="^(a+)+$", title="A")], {"type": "string"}),
        (Any, {}),
        (object, {}),
    ],
)
def test_an_annotation_is_described_by_a_schema(annotation: Any, schema: dict[str, Any]) -> None:
    assert declared_type(annotation).schema == schema


def test_a_field_that_a_dataclass_does_not_have_is_no_value_of_it() -> None:
    declared = declared_type(Layer)
    with pytest.raises(Invalid, match=r"x\.inner\.0\.widht: 3 is not valid.*did you mean 'width'"):
        declared.to_python("x", {"width": 1, "inner": [{"width": 2, "widht": 3}]})


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (datetime, datetime(2030, 1, 31, 12), "2030-01-31T12:00:00"),  # noqa: DTZ001  # users write it
        (date, date(2030, 1, 31), "2030-01-31"),
        (time, time(12, 30), "12:30:00"),
        (timedelta, timedelta(hours=1), "PT1H"),
        (Decimal, Decimal("0.10"), "0.10"),
        (Mode, Mode.SLOW, "slow"),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (dict[int, str], {1: "a"}, {"1": "a"}),
        (Point, Point(1), [1, 0]),
        (Layer, Layer(1, [Layer(2)]), {"width": 1, "inner": [{"width": 2, "inner": []}]}),
        (File, File("s3://bucket/rows.csv"), "s3://bucket/rows.csv"),
        (list[Directory], [Directory("/data")], ["file:///data"]),
        (float, 3.0, 3.0),
    ],
)
def test_a_value_passes_through_json_unchanged(annotation: Any, value: Any, text: Any) -> None:
    declared = declared_type(annotation)
    assert declared.as_output.to_json("x", value) == text
    assert declared.to_python("x", text) == value


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "3", "x: '3' is not valid; allowed: an integer"),
        (int, object(), "allowed: an integer"),
        (int, None, "x: null is not valid; allowed: an integer"),
        (float, math.nan, "allowed: a number (NaN is not a number of JSON)"),
        (dict, {"a": [math.inf]}, "an object (Infinity is not a number of JSON)"),
        (float | None, math.nan, "allowed: a number or null (NaN"),
        (Layer, Layer("wide"), "x.width: 'wide' is not valid; allowed: an integer"),
        (list[Layer], [{"width": "wide"}], "x.0.width: 'wide' is not valid; allowed: an integer"),
        (bytes, b"\xff", "allowed: a string"),
        (list[int], np.ones(3), "allowed: a list; it is of the type numpy.ndarray"),
        (int, np.int64(3), "x: 3 is not valid; allowed: an integer; it is of the type numpy.int64"),
        (
            list[int],
            [1, np.int64(3)],
            "x.1: 3 is not valid; allowed: an integer; it is of the type",
        ),
        (tuple[int, int], (np.int64(3),), "x.0: 3 is not valid; allowed: an integer"),
        (tuple[int, bytes], (3,), "x: [3] is not valid; allowed: at least 2 of them"),
        (
            tuple[int, int],
            ({1},),
            "x.0: {1} is not valid; allowed: an integer; it is of the type set",
        ),
        (tuple[Any, int], ({1},), "x: ['{1}'] is not valid; allowed: a list"),
        (list[Layer], [Layer(1), 3], "x.1: 3 is not valid; allowed: an instance of Layer; it is"),
        (Mode, "other", 'allowed: "fast" or "slow"'),
    ],
)
def test_a_value_of_another_type_has_no_form_in_json(
    annotation: Any, value: Any, message: str
) -> None:
    with pytest.raises(Invalid) as caught:
        declared_type(annotation).as_output.to_json("x", value)
    assert message in str(caught.value)


def test_what_a_schema_leaves_out_is_checked_by_the_task() -> None:
    declared = declared_type(Annotated[str, Field(pattern="^a")])
    with pytest.raises(Invalid, match=r"x: 'b' is not valid; allowed: a string of the pattern \^a"):
        declared.to_python("x", "b")


def test_a_type_without_a_form_in_json_is_refused_where_it_is_written() -> None:
    def fit(data: np.ndarray) -> int:
        return 1

    line = fit.__code__.co_firstlineno
    with pytest.raises(Invalid, match=rf"fit: data: 'ndarray' .*test_types.py, line {line}"):
        task(fit)
    fit.__annotations__ = {"data": int, "return": type[int]}
    with pytest.raises(Invalid, match=r"fit: return: 'type\[int\]' is not valid"):
        workflow(fit)


def test_a_default_of_another_type_is_refused_where_it_is_registered() -> None:
    @task
    def fit(rows: int = None) -> int:  # noqa: RUF013  # users write it
        return rows

    with pytest.raises(Invalid, match=r"fit: rows: null .* an integer, as the default of rows"):
        _ = fit.graph


def test_a_type_for_the_type_checker_only_takes_every_value() -> None:
    @task
    def fit(data: "Hidden") -> "Hidden":
        return data

    assert fit.graph.interface.inputs == {"data": {}}
    assert fit.types.call({"data": [1]}) == [1]


def test_a_type_may_be_defined_after_the_task() -> None:
    @task
    def fit(config: "Late") -> int:  # noqa: F821  # defined below
        return config.rows

    globals()["Late"] = dataclass(type("Late", (), {"__annotations__": {"rows": int}}))
    try:
        assert fit.graph.interface.inputs["config"]["required"] == ["rows"]
    finally:
        del globals()["Late"]


@task
def layers(config: Config) -> list[Layer]:
    assert isinstance(config.layers[0], Layer)
    return list(config.layers)


@task
def widest(layers: list[Layer], since: date) -> Layer:
    assert type(since) is date
    return max(layers, key=lambda layer: layer.width)


@task
def wrong(layer: Layer) -> int:
    return "wide"


@workflow
def pricing(config: Config, since: date = date(2030, 1, 31)) -> Layer:
    return widest(layers=layers(config=config), since=since)


def test_a_local_run_passes_values_through_json_as_a_server_does() -> None:
    config = Config(layers=(Layer(1), Layer(3)))
    assert pricing(config=config) == Layer(3)
    assert pricing(config={"layers": [{"width": 2}]}, since="2030-02-01") == Layer(2)
    with pytest.raises(Invalid, match=r"inputs\.config\.layers\.1\.width: 'x' is not valid"):
        pricing(config={"layers": [{"width": 2}, {"width": "x"}]})


def test_what_a_task_returns_is_checked() -> None:
    with pytest.raises(Invalid, match="wrong: return: 'wide' is not valid; allowed: an integer"):
        wrong.types.call({"layer": {"width": 1}})


def test_the_types_of_a_workflow_are_registered_and_checked_where_they_are_used() -> None:
    registered = Workflow.model_validate_json(pricing.graph("v", "").model_dump_json())
    assert registered.inputs["since"] == "2030-01-31"
    assert registered.tasks["layers"].interface.inputs == {"config": registered.schemas["config"]}
    assert registered.output_schema == registered.tasks["widest"].interface.output
    with pytest.raises(Invalid, match=r"inputs\.config\.layers\.0\.width: null is not valid"):
        registered.bind_inputs({"config": {"layers": [{"width": None}]}})
    broken = registered.model_copy(update={"inputs": {**registered.inputs, "since": "soon"}})
    with pytest.raises(Invalid, match=r"inputs\.since: 'soon' is not valid; allowed: a date"):
        broken.check()


def test_a_launch_plan_takes_python_values_and_refuses_those_of_another_type() -> None:
    config = Config(layers=())
    plan = LaunchPlan.get_or_create(workflow=pricing, name="empty", inputs={"config": config})
    assert plan.graph(pricing.graph("v", "")).inputs == {
        "config": {"layers": [], "mode": "fast", "rate": 0.1}
    }
    with pytest.raises(Invalid, match=r"launch plan late: inputs\.since: 3 is not valid"):
        LaunchPlan.get_or_create(workflow=pricing, name="late", inputs={"since": 3})


def test_a_constant_or_a_promise_of_another_type_is_a_compile_error() -> None:
    @workflow
    def constant() -> None:
        widest(layers=[{"width": "x"}], since=date(2030, 1, 31))

    with pytest.raises(Rejected, match=r"widest: layers\.0\.width: 'x' is not valid"):
        constant.graph("v", "")

    @workflow
    def promise(config: Config) -> None:
        widest(layers=layers(config=config), since=layers(config=config))

    with pytest.raises(Rejected, match=r"widest: since: '<output of layers .* a list.* a date"):
        promise.graph("v", "")

    @workflow
    def returned(config: Config) -> int:
        return layers(config=config)

    with pytest.raises(Rejected, match=r"returned: return: '<output of layers"):
        returned.graph("v", "")


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        (int, float, True),
        (float, int, True),
        (int, str, False),
        (int | None, int, True),
        (None, int, False),
        (int | None, str | bool, False),
        (Literal["a", "b"], Literal["b", "c"], True),
        (Literal["a"], Literal["c"], False),
        (Literal["a"], int | str, True),
        (str, Mode, True),
        (int, Mode, False),
        (list[int], list[str], True),
        (list[int], dict[str, int], False),
        (Layer, dict, True),
        (Layer, Config, False),
        (Layer, Layer, True),
        (File, str, True),
        (File, Directory, False),
        (Any, int, True),
        (int, Any, True),
    ],
)
def test_types_do_not_fit_only_if_no_value_does(source: Any, target: Any, fits: bool) -> None:
    assert may_fit(declared_type(source).output_schema, declared_type(target).schema) == fits


SCALARS = st.sampled_from([int, float, bool, str, type(None), date, Mode, Literal["a", 2]])
TYPES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(lambda each: list[each]),
        inner.map(lambda each: dict[str, each]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair[0], pair[1]]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | None if pair[0] else None),
        st.sampled_from([Config, Point]),
    ),
    max_leaves=4,
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 0, 3, -1.5, 2.0, 2**60, "", "a", "3", "fast", "2030-01-31"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "mode", "layers"]), inner),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(TYPES, VALUES)
def test_a_check_agrees_with_pydantic_in_its_strict_mode(annotation: Any, value: Any) -> None:
    schema = declared_type(annotation).schema
    check_schema("schema", schema)
    assert accepts(check, "x", value, schema) == accepts(
        TypeAdapter(annotation).validate_json, json.dumps(value), strict=True
    )


def accepts(function: Callable[..., object], *arguments: object, **options: object) -> bool:
    try:
        function(*arguments, **options)
    except (Invalid, ValidationError):
        return False
    return True
