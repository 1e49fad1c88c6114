"""A reader's CPU time for 20,000 changes of settings: in one transaction, and committed one by one.

20,000 documents are the most that one call may apply, so no transaction of the API has more. Both
are read from messages in memory; the changes that are committed one by one are the limit. Run as
``python -m bench.views``.
"""

import time
from collections.abc import Callable

from trimtab.levels import Scope
from trimtab.messages.events import (
    COMMIT,
    EVENT_ID,
    EVENT_TYPE,
    REVISION,
    RecordChanged,
    settings_subject,
)
from trimtab.runtime.bus import StoredMessage
from trimtab.settings.view import Candidate

CHANGES = 20_000
WORKFLOWS = 100
"""Workflows of each project; every one has a record."""
HEADERS = {
    EVENT_ID: "1",
    EVENT_TYPE: RecordChanged.type_of_event(),
    "ce-source": "trimtab",
    "ce-specversion": "1.0",
}
ROUNDS = 3
GOAL = 1.5


def messages(commit_of: Callable[[int], int]) -> list[StoredMessage]:
    """Build the messages of all changes; ``commit_of`` returns the commit of a revision."""
    return [message(revision, commit_of(revision)) for revision in range(1, CHANGES + 1)]


def message(revision: int, commit: int) -> StoredMessage:
    scope = Scope("development", f"p{revision // WORKFLOWS}", f"w{revision % WORKFLOWS}")
    event = RecordChanged.at(scope, "task_resource", {"limits": {"cpu": "4"}})
    headers = {**HEADERS, REVISION: str(revision), COMMIT: str(commit)}
    return StoredMessage(settings_subject(event), revision, headers, event.body(), is_last=False)


def seconds(stored: list[StoredMessage]) -> float:
    candidate = Candidate()
    began = time.process_time()
    for each in stored:
        candidate.apply(each)
    elapsed = time.process_time() - began
    assert candidate.settings.digest.count == CHANGES
    return elapsed


def run() -> None:
    """Print the best of several rounds; the two take turns, so that load affects both."""
    together, singly = messages(lambda _: CHANGES), messages(lambda revision: revision)
    rounds = [(seconds(together), seconds(singly)) for _ in range(ROUNDS)]
    one, many = (min(column) for column in zip(*rounds, strict=True))
    print(f"{f'{CHANGES:,} changes in one transaction':<40}{one:>8.2f} s of CPU time")
    print(f"{'limit: the same, committed one by one':<40}{many:>8.2f} s of CPU time")
    print(f"{'together ÷ one by one':<40}{one / many:>8.2f}    goal ≤ {GOAL}")


if __name__ == "__main__":
    run()
