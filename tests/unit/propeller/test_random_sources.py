"""The order of sources, compared with a table that is read from the left."""

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.propeller.building import overrides, request
from tests.unit.propeller.building import settings as recorded
from trimtab.workflows.graphs.graph import Hook, Node
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

NAMES = (
    *("execution n0/h", "execution h", "plan n0/h", "plan h", "default"),
    *("execution", "plan", "with_overrides", "task"),
)
"""All places of a value, the most specific first."""
FOR_ALL = {"execution", "plan"}
"""Places that have the environment and whether a task is interruptible, and nothing else."""
GIVEN = {
    "retries": st.integers(0, 3),
    "interruptible": st.booleans(),
    "timeout_seconds": st.integers(0, 2),
    "environment": st.dictionaries(st.sampled_from("AB"), st.sampled_from(["", "1"]), min_size=1),
    "task_config": st.dictionaries(st.sampled_from("ab"), st.integers(0, 1), min_size=1),
}
PLACES = st.fixed_dictionaries(
    {
        name: st.fixed_dictionaries(
            {},
            optional={
                field: each
                for field, each in GIVEN.items()
                if name not in FOR_ALL or field in ("environment", "interruptible")
            },
        )
        for name in NAMES
    }
)


@settings(max_examples=40)
@given(PLACES)
def test_a_value_is_that_of_the_first_place_that_has_it(
    places: dict[str, dict[str, object]],
) -> None:
    given = {name: overrides(**fields) for name, fields in places.items()}
    hook = Hook(name="h", path="n0", default=given["default"])
    node = Node(id="n0.n0", task="train", inputs={}, overrides=given["with_overrides"], hook=hook)
    runtime = {"h": given["plan h"], "n0/h": given["plan n0/h"]}
    wanted = request(
        node,
        task=given["task"],
        plan={"runtime_override": runtime, **places["plan"]},
        overrides={"h": given["execution h"], "n0/h": given["execution n0/h"]},
        **places["execution"],
    )
    resolution = resolve(wanted, recorded(), Capabilities("any"))
    attempt = Attempt.from_resolution(wanted, resolution, node, 0, {})
    assert resolution.value("n0.n0", "retries") == first(places, "retries", 0)
    assert attempt.interruptible == first(places, "interruptible", False)
    assert attempt.timeout_seconds == first(places, "timeout_seconds", 0)
    assert resolution.environment("n0.n0") == merged(places, "environment")
    assert (attempt.task_config or {}) == merged(places, "task_config")


def first(places: dict[str, dict[str, object]], field: str, default: object) -> object:
    return next((places[n][field] for n in NAMES if field in places[n]), default)


def merged(places: dict[str, dict[str, object]], field: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, key in product(NAMES, "ABab"):
        of_place = places[name].get(field)
        if isinstance(of_place, dict) and key in of_place:
            found.setdefault(key, of_place[key])
    return found
