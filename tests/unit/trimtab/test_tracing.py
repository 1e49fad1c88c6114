"""Bodies of workflows: whatever would be silently wrong is an error in its line."""

import asyncio
import copy
import functools
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trimtab import BadModule, Resources, load_module, reference_task, task, workflow
from trimtab.errors import Invalid, Rejected
from trimtab.workflows.graphs.graph import FromInput
from trimtab.workflows.graphs.node_overrides import NodeOverrides

OPERATIONS: dict[str, Callable[[Any], object]] = {
    "==": lambda x: x == 1,
    "!=": lambda x: x != 1,
    "<": lambda x: x < 1,
    "<=": lambda x: x <= 1,
    ">": lambda x: x > 1,
    ">=": lambda x: x >= 1,
    "in a list": lambda x: x in [1, 2],
    "if": lambda x: 1 if x else 2,
    "and": lambda x: x and 1,
    "or": lambda x: x or 1,
    "not": lambda x: not x,
    "bool()": bool,
    "str()": str,
    "f-string": lambda x: f"{x}",
    "f-string with a format": lambda x: f"{x:>3}",
    "format()": lambda x: "{}".format(x),  # noqa: UP032  # The method is meant.
    "%": lambda x: "%s" % x,  # noqa: UP031  # The operator is meant.
    "% on a promise": lambda x: x % 2,
    "print()": lambda x: print(x),  # noqa: T201  # It must be refused.
    "hash()": hash,
    "key of a dict": lambda x: {x: 1},
    "item of a set": lambda x: {x},
    "+": lambda x: x + 1,
    "reflected +": lambda x: 1 + x,
    "+ to a text": lambda x: "a" + x,
    "+ to a list": lambda x: [1] + x,  # noqa: RUF005  # The operator is meant.
    "-": lambda x: 1 - x,
    "*": lambda x: x * 2,
    "@": lambda x: x @ x,
    "/": lambda x: 1 / x,
    "//": lambda x: x // 2,
    "**": lambda x: 2**x,
    "divmod()": lambda x: divmod(x, 2),
    "<<": lambda x: x << 1,
    ">>": lambda x: 1 >> x,
    "&": lambda x: x & 1,
    "|": lambda x: x | {},
    "^": lambda x: x ^ 1,
    "unary -": lambda x: -x,
    "unary +": lambda x: +x,
    "~": lambda x: ~x,
    "abs()": abs,
    "attribute": lambda x: x.name,
    "assignment to an attribute": lambda x: setattr(x, "name", 1),
    "del of an attribute": lambda x: delattr(x, "name"),
    "item": lambda x: x["a"],
    "slice": lambda x: x[1:],
    "assignment to an item": lambda x: x.__setitem__(0, 1),
    "del of an item": lambda x: x.__delitem__(0),
    "for": lambda x: [each for each in x],  # noqa: C416  # Iteration is meant.
    "unpacking": lambda x: (lambda a, b: a)(*x),
    "unpacking as keywords": lambda x: dict(**x),
    "next()": next,
    "reversed()": reversed,
    "len()": len,
    "in a promise": lambda x: 1 in x,
    "int()": int,
    "float()": float,
    "complex()": complex,
    "round()": round,
    "floor()": math.floor,
    "index": lambda x: [1, 2][x],
    "range()": range,
    "bytes()": bytes,
    "path": Path,
    "call": lambda x: x(),
    "with": lambda x: x.__enter__(),
    "pickle": pickle.dumps,
}


@task
def double(x: Any) -> Any:
    return 2 * x


@workflow
def other(x: int = 1) -> Any:
    return double(x=x)


def registered(body: Any) -> Any:
    body.__name__ = "body"
    return workflow(body).graph("v", "")


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_on_a_promise_is_refused(operation: Callable[[Any], object]) -> None:
    def on_input(x: int) -> None:
        operation(x)

    def on_output() -> None:
        operation(double(x=1))

    for body in (on_input, on_output):
        with pytest.raises(Rejected, match=r"a promise has no value .* pass it unchanged to a"):
            registered(body)


def test_a_refused_operation_names_the_operation_and_the_promise() -> None:
    with pytest.raises(
        Rejected, match=r"^== on <output of double \(node n0\) of workflow body>: a promise"
    ):
        registered(lambda: double(x=1) == 2)


def test_a_refused_operation_is_an_error_even_where_the_body_catches_it() -> None:
    def body(x: int) -> Any:
        try:
            return double(x=1) if x > 3 else double(x=2)
        except Exception:  # noqa: BLE001  # The mistake.
            return double(x=3)

    line = body.__code__.co_firstlineno
    with pytest.raises(Rejected, match=r"^> on <input x of workflow body>: a promise") as refused:
        registered(body)
    assert line + 2 in [each.lineno + 1 for each in refused.traceback]


def test_a_debugger_that_fails_to_show_a_promise_leaves_the_graph_as_it_is() -> None:
    code = "def show(x):\n    try:\n        str(x)\n    except Exception:\n        pass\n"
    debugger: dict[str, Any] = {}
    exec(compile(code, "debugger.py", "exec"), debugger)

    def body(x: int) -> Any:
        debugger["show"](x)
        return double(x=x)

    assert registered(body).nodes[0].inputs == {"x": FromInput(name="x")}


def test_a_debugger_can_show_and_copy_a_promise() -> None:
    found = []

    def body(x: int) -> Any:
        found.append((repr(x), hasattr(x, "__json__"), hasattr(x, "_repr_html_")))
        return copy.copy(copy.deepcopy(x))

    with pytest.raises(Rejected, match="calls no task"):
        registered(body)
    assert found == [("<input x of workflow body>", False, False)]


def test_a_copied_promise_is_the_promise() -> None:
    def body(x: int) -> Any:
        double(x=copy.deepcopy(x))

    assert registered(body).nodes[0].inputs == {"x": FromInput(name="x")}


@dataclass
class Pair:
    left: Any


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda _: double, r"x: double is passed without its call; write double\(…\)"),
        (lambda _: other, "other is passed without its call"),
        (lambda _: double(x=1).with_overrides, "with_overrides is passed without its call"),
        (lambda _: len, "len is passed without its call"),
        (lambda _: Pair, "Pair is passed without its call"),
        (lambda x: [x], "a promise is inside a list; pass each promise directly"),
        (lambda x: (1, x), "a promise is inside a tuple"),
        (lambda x: {"a": [{"b": x}]}, "a promise is inside a dict"),
        (Pair, "a promise is inside a Pair"),
        (lambda x: f"{x!r} rows", "a promise is inside a str"),
        (lambda x: {"a": str([double(x=x)])}, "a promise is inside a dict"),
        (lambda _: {1, 2}, "a JSON value"),
        (lambda _: math.nan, "a JSON value"),
    ],
)
def test_a_value_that_no_node_can_get_is_refused(
    value: Callable[[Any], object], message: str
) -> None:
    def passes(x: int) -> None:
        double(x=value(x))

    def returns(x: int) -> Any:
        double(x=x)
        return value(x)

    with pytest.raises(Rejected, match=message):
        registered(passes)
    with pytest.raises(Rejected, match=message.removeprefix("x: ")) as refused:
        registered(returns)
    assert "test_tracing.py, line " in str(refused.value)


def test_a_missing_return_is_refused_where_the_output_cannot_be_null() -> None:
    def body(x: int) -> int:  # type: ignore[return]  # The mistake.
        double(x=x)

    with pytest.raises(Rejected, match=r"body: return: null .* an integer .*test_tracing.py, line"):
        registered(body)


def test_a_list_that_contains_itself_is_refused() -> None:
    circular: list[Any] = []
    circular.append(circular)
    with pytest.raises(Invalid, match="Circular"):
        registered(lambda: double(x=circular))


def test_a_task_that_is_only_mentioned_is_refused_with_its_line() -> None:
    def bare() -> None:
        double(x=1)
        double  # noqa: B018  # The mistake.

    def method() -> None:
        double(x=1).with_overrides  # noqa: B018  # The mistake.

    line = bare.__code__.co_firstlineno
    with pytest.raises(Rejected, match=f"test_tracing.py, line {line + 2}: double without its"):
        registered(bare)
    with pytest.raises(Rejected, match=f"line {line + 5}: with_overrides without its call"):
        registered(method)
    name = task(double.function)

    def closure() -> None:
        double(x=1)
        name  # noqa: B018  # The mistake.

    with pytest.raises(Rejected, match="name without its call"):
        registered(closure)


def is_none(x: Any) -> Any:
    return double(x=x) if x is None else double(x=1)


def is_not_none(x: Any) -> Any:
    return double(x=x) if x is not None else double(x=1)


def is_another(x: Any) -> Any:
    return double(x=None is x)


def is_constant(x: Any) -> Any:
    return double(x=x is double)


def is_of_type(x: Any) -> Any:
    return double(x=1) if isinstance(x, int) else double(x=2)


def has_type(x: Any) -> Any:
    return double(x=type(x) is int)


def matches_none(x: Any) -> Any:
    match x:
        case None:
            return double(x=1)
    return double(x=2)


def output_is_none(x: Any) -> Any:
    y = double(x=x)
    return double(x=1) if y is None else y


def configured_is_none(x: Any) -> Any:
    y = double(
        x=x,
    ).with_overrides(retries=1)
    x = double(x=y)
    return double(x=1) if x is None else y


def around_is_none(x: Any) -> Any:
    y = other(x=x)
    return double(x=1) if y is None else (lambda: y)()


def default_instead_of_none(x: Any) -> Any:
    if x is None:
        x = 5
    return double(x=x)


def conditional_instead_of_none(x: Any) -> Any:
    y = double(x=x)
    y = 5 if y is None else y
    return double(x=y)


def inner_function_is_none(x: Any) -> Any:
    def inner() -> Any:
        return double(x=1 if x is None else x)

    return inner()


def comprehension_is_none(x: Any) -> Any:
    outputs = [double(x=x) for _ in range(3) if x is not None]
    return outputs[-1]


def matches_class(x: Any) -> Any:
    match x:
        case int() | Path():
            return double(x=1)
    return double(x=2)


def matches_sequence(x: Any) -> Any:
    match x:
        case [_, _]:
            return double(x=1)
    return double(x=2)


@pytest.mark.parametrize(
    "body",
    [
        default_instead_of_none,
        conditional_instead_of_none,
        inner_function_is_none,
        comprehension_is_none,
        matches_class,
        matches_sequence,
        is_none,
        is_not_none,
        is_another,
        is_constant,
        is_of_type,
        has_type,
        matches_none,
        output_is_none,
        configured_is_none,
        around_is_none,
    ],
)
def test_a_look_at_a_value_that_its_promise_cannot_refuse_is_refused(body: Any) -> None:
    with pytest.raises(Rejected, match=r"test_tracing.py, line \d+: .* on [xy] looks at a promise"):
        registered(body)


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return run


def test_a_function_below_another_decorator_is_the_one_that_is_checked_and_named() -> None:
    line = is_none.__code__.co_firstlineno
    with pytest.raises(Rejected, match=f"test_tracing.py, line {line + 1}: is None on x"):
        registered(logged(is_none))
    decorated = task(logged(is_none))
    assert decorated.place == f"{__file__}, line {line}"
    assert list(decorated.signature.parameters) == ["x"]


def test_a_look_at_other_values_is_allowed() -> None:
    flag = None

    def body(x: Any, y: Any = None) -> Any:
        y = None
        z = double(x=x)
        z = len("text")
        if y is None and z is not None and flag is None and isinstance(flag, int | None):
            return double(x=x)
        return double(x=1)

    assert registered(body).nodes[1].inputs == {"x": FromInput(name="x")}


def test_a_look_at_a_variable_that_may_have_another_value_is_allowed() -> None:
    def inner(x: Any) -> Any:
        last = double(x=x)

        def forget() -> None:
            nonlocal last
            last = None

        forget()
        return double(x=1) if last is None else last

    def loop(x: Any) -> Any:
        for each in range(3):
            if each and x is None:
                x = 1
            double(x=x)
            x = None

    def inner_look(x: Any) -> Any:
        flag = None
        return (lambda: double(x=x) if flag is None else double(x=1))()

    def next_to(x: Any) -> Any:
        flag, none = None, None
        return double(x=[double(x=x), flag is none][1])

    for body in (inner, inner_look, loop, next_to):
        assert registered(body).nodes


def test_a_promise_of_another_workflow_is_refused() -> None:
    leaked = []

    @workflow
    def leaks(x: int) -> Any:
        leaked.append(double(x=x))
        return leaked[0]

    leaks.graph("v", "")
    with pytest.raises(Rejected, match="of workflow leaks> is used in workflow body"):
        registered(lambda: double(x=leaked[0]))
    with pytest.raises(Rejected, match="outside of the body"):
        leaked[0].with_overrides(retries=1)
    with pytest.raises(Rejected, match="outside of the body"):
        registered(lambda: leaked[0].with_runtime_override("trainer"))
    with pytest.raises(Rejected, match=r"double: <output of double .* is used outside of the body"):
        double(leaked[0])


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda x: double(x=1).with_overrides(retries=x), "retries"),
        (lambda x: double(x=1).with_overrides(environment={"A": x}), "environment"),
        (lambda x: double(x=1).with_overrides(environment={"A": repr(x)}), "environment"),
        (lambda x: double(x=1).with_overrides(node_name=x), "node_name"),
        (lambda x: double(x=1).with_runtime_override(x), "name"),
        (lambda x: double(x=1).with_runtime_override("a", x), "config"),
    ],
)
def test_a_promise_in_the_configuration_of_a_call_is_refused(call: Any, field: str) -> None:
    def body(x: int) -> None:
        call(x)

    with pytest.raises(Rejected, match=f"{field} is a promise, .* use a constant here, and a hook"):
        registered(body)


def test_a_promise_as_an_amount_is_refused() -> None:
    with pytest.raises(Rejected):
        registered(lambda: double(x=1).with_overrides(resources=Resources(cpu=double(x=2))))


def list_default(x: list[int] = []) -> None: ...  # noqa: B006  # The mistake.
def dict_default(x: dict[str, int] = {}) -> None: ...  # noqa: B006  # The mistake.
def set_default(x: set[int] = {1}) -> None: ...  # noqa: B006  # The mistake.
def bytes_default(x: bytearray = bytearray()) -> None: ...  # noqa: B008  # The mistake.
def positional(*x: int) -> None: ...
def keywords(**x: int) -> None: ...
def positional_only(x: int, /) -> None: ...
def generator() -> Any:
    yield 1


async def asynchronous() -> None:
    await asyncio.sleep(0)


async def generating() -> Any:
    yield 1


class Class: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (list_default, "the default of x is a mutable list; use None or a tuple"),
        (dict_default, "mutable dict"),
        (set_default, "mutable set"),
        (bytes_default, "mutable bytearray"),
        (positional, r"\*x: int"),
        (keywords, r"\*\*x: int"),
        (positional_only, "before a /"),
        (generator, "yield"),
        (asynchronous, "async"),
        (generating, "yield"),
        (lambda: None, "write it with def"),
        (Class, "only a function can"),
        (double, "only a function can"),
        (len, "only a function can"),
    ],
)
def test_a_function_that_runs_otherwise_than_it_looks_is_refused(
    function: Any, message: str
) -> None:
    reference = reference_task(project="shop", domain="production", name="train", version="v3")
    for decorator in (task, workflow, reference):
        with pytest.raises(Rejected, match=message):
            decorator(function)


MODULE = """\
from trimtab import task, workflow

@task
def double(x: int) -> int:
    return 2 * x

@workflow
def nightly(x: int):
    y = double(x=x)
    {line}
    return y
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y == 2", "line 10: == on <output of double"),
        ("double(x=f'{x}')", "line 10: an f-string"),
        ("double(x=[y])", "line 10: double: x: a promise is inside a list"),
        ("double(y)", "line 10: double: in a workflow, calls have keyword arguments only"),
        ("double", "line 10: double without its call"),
        ("y.with_runtime_override('a b')", "line 10: name: 'a b'"),
        (
            "return double",
            "double is passed without its call; write double(…) (workflow nightly: line 7)",
        ),
    ],
)
def test_the_loader_reports_the_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(MODULE.format(line=line))
    with pytest.raises(BadModule) as refused:
        load_module(path)
    assert message in f"line {refused.value.line}: {refused.value}".replace(f"{path}, ", "")


def test_a_workflow_that_fails_to_trace_fails_again_and_leaves_no_builder_active() -> None:
    @workflow
    def fails() -> Any:
        return double(x=1) + 1

    for _ in range(2):
        with pytest.raises(Rejected, match=r"\+ on"):
            fails.graph("v", "")
    assert double(2) == 4


def test_overrides_that_change_nothing_are_not_written() -> None:
    [node] = registered(lambda: double(x=1).with_overrides()).nodes
    assert node.overrides == NodeOverrides()
