"""Tests wait for effects, at most for `PATIENCE_SECONDS`, and need nothing in a fixed time."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
CLIENTS = {"AsyncClient", "Client", "get"}
"""Names in `httpx` that have a timeout of five seconds without ``timeout`` or ``transport``."""

LONGEST_PAUSE_SECONDS = 0.1
"""The longest pause between two tries of a condition."""
PAUSE = "a pause of a fixed length"
CLOCKS = {"monotonic", "perf_counter", "process_time", "thread_time", "time"}

Constants = Mapping[str, float]


def constants(module: ast.Module) -> Constants:
    """Return the numbers that have a name in the module."""
    found: dict[str, float] = {}
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=expression):
                if (number := value(expression, found)) is not None:
                    found[name] = number
    return found


def value(expression: ast.expr | None, names: Constants) -> float | None:
    """Return the value of an expression that is fixed in its module, and ``None`` for others."""
    match expression:
        case ast.Constant(bool()):
            return None
        case ast.Constant(int() | float() as number):
            return float(number)
        case ast.Name(name):
            return names.get(name)
        case ast.BinOp(left, ast.Mult(), right):
            factors = value(left, names), value(right, names)
            return None if None in factors else factors[0] * factors[1]  # type: ignore[operator]
    return None


def limit(call: ast.Call) -> ast.expr | None:
    """Return the expression of how long the call may take."""
    for keyword in call.keywords:
        if keyword.arg == "timeout":
            return keyword.value
    match call:
        case ast.Call(ast.Attribute(attr="timeout" | "wait" | "join"), [first, *_]):
            return first
        case ast.Call(ast.Attribute(attr="wait_for" | "to_thread"), [_, second, *_]):
            return second
    return None


def problems(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the kind of each wait or limit of time that does not scale."""
    module = ast.parse(source)
    names = constants(module)
    for node in ast.walk(module):
        match node:
            case ast.Call(ast.Attribute(attr="sleep"), [pause, *_]):
                if (value(pause, names) or 0) > LONGEST_PAUSE_SECONDS:
                    yield node.lineno, PAUSE
            case ast.Call(ast.Attribute(ast.Name("httpx"), name)) if name in CLIENTS:
                if not {"timeout", "transport"} & {keyword.arg for keyword in node.keywords}:
                    yield node.lineno, "the timeout of httpx"
            case ast.Call() if (value(limit(node), names) or 0) >= 1:
                yield node.lineno, "a timeout of a fixed length"
            case ast.BinOp(ast.Call(ast.Attribute(attr="monotonic" | "time")), ast.Add(), length):
                if value(length, names) is not None:
                    yield node.lineno, "a deadline at a fixed distance"
            case ast.Assert(
                ast.Compare(
                    ast.BinOp(ast.Call(ast.Attribute(attr=clock) | ast.Name(clock)), ast.Sub()),
                    [ast.Lt() | ast.LtE()],
                    [most],
                )
            ) if clock in CLOCKS and value(most, names) is not None:
                yield node.lineno, "a fixed number of seconds"


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("asyncio.sleep(0.1), time.sleep(pause)", []),
        ("await asyncio.sleep(0.2)", [PAUSE]),
        ("SHORT = 0.05\nawait asyncio.sleep(4 * SHORT)", [PAUSE]),
        ("async with asyncio.timeout(30): ...", ["a timeout of a fixed length"]),
        ("async with asyncio.timeout(2 * PATIENCE_SECONDS): ...", []),
        ("process.wait(10)", ["a timeout of a fixed length"]),
        ("await asyncio.wait_for(task, 60)", ["a timeout of a fixed length"]),
        ("view.wait_for(3), view.wait_for(3, PATIENCE_SECONDS), ', '.join(names)", []),
        ("view.wait_for(3, timeout=0.1)", []),  # it is meant to pass
        ("until = time.monotonic() + 60", ["a deadline at a fixed distance"]),
        ("assert process_time() - began < 2", ["a fixed number of seconds"]),
        ("assert time.monotonic() - began >= 0.2, time.time() - began < 5 * other", []),
        ("httpx.Client(base_url=url)", ["the timeout of httpx"]),
        ("httpx.Client(transport=app), httpx.get(url, timeout=PATIENCE_SECONDS)", []),
    ],
)
def test_a_wait_of_a_fixed_length_is_found(source: str, kinds: list[str]) -> None:
    assert [kind for _, kind in problems(source)] == kinds


def test_no_wait_has_a_fixed_length() -> None:
    # The pauses of tests/e2e are the pace of their load on containers.
    found = [
        f"{path.relative_to(TESTS)}:{line}: {kind}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(__file__)
        for line, kind in problems(path.read_text())
        if kind != PAUSE or "e2e" not in path.parts
    ]
    assert found == []
