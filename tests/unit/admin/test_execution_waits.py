"""Why executions are not claimed, as propellers report it."""

from trimtab.messages.events import ExecutionsWaiting
from trimtab_admin.executions.waits import ExecutionWaits


def report(project: str, reason: str) -> ExecutionsWaiting:
    return ExecutionsWaiting(owner="p", project=project, domain="dev", reason=reason)


def test_a_reason_is_shown_until_it_is_repeated_no_longer() -> None:
    now = [0.0]
    waits = ExecutionWaits(lambda: now[0])
    assert waits.reason("shop", "dev") == ""
    waits.record(report("shop", "old"))
    now[0] = 4.0
    waits.record(report("bank", "other"))
    waits.record(report("shop", "new"))
    now[0] = 9.0
    waits.record(report("games", "third"))
    assert [waits.reason(each, "dev") for each in ("shop", "bank", "games")] == [
        "new",
        "other",
        "third",
    ]
    now[0] = 9.1
    assert [waits.reason(each, "dev") for each in ("shop", "bank", "games")] == ["", "", "third"]
    waits.record(report("games", "fourth"))
    assert waits.reason("games", "dev") == "fourth"
