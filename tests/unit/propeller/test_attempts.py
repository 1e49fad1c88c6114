"""What a task sees of its attempt."""

from tests.unit.propeller.building import overrides, request, settings
from trimtab_propeller.attempts import environment
from trimtab_propeller.resolve import Capabilities, resolve

WANTED = request(
    task=overrides(
        environment={"LOG": "info", "TRIMTAB_NODE": "mine"},
        resources={"requests": {"cpu": "1"}, "limits": {"ephemeral_storage": "1Gi"}},
    )
)


def test_the_facts_of_the_attempt_win_over_what_was_resolved() -> None:
    resolution = resolve(WANTED, settings(), Capabilities("any"))
    assert environment(WANTED, resolution, "n0", 2) == {
        "LOG": "info",
        "TRIMTAB_EXECUTION": "e1",
        "TRIMTAB_PROJECT": "shop",
        "TRIMTAB_DOMAIN": "development",
        "TRIMTAB_WORKFLOW": "nightly",
        "TRIMTAB_NODE": "n0",
        "TRIMTAB_ATTEMPT": "2",
        "TRIMTAB_REQUESTS_CPU": "1",
        "TRIMTAB_LIMITS_EPHEMERAL_STORAGE": "1Gi",
        "TRIMTAB_REQUESTS_EPHEMERAL_STORAGE": "1Gi",
    }
