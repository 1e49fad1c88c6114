"""Effective values per second in one process, with provenance, compared with a plain merge.

One kind, a chain of four records. Cold: every target is requested once in a round, and there are
more targets than the cache holds. Warm: a few targets are requested again and again. The upper
limit is a merge of the same four documents, without a search for them and without provenance.
Run as ``python -m bench.fold``.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from trimtab.levels import SETTINGS_FILE, Scope
from trimtab.messages.events import RecordChanged
from trimtab.settings.state import CACHE_SIZE, Settings

Document = dict[str, Any]

KIND = "task_resource"
COLD_GOAL = 50_000
WARM_GOAL = 200_000
PROJECTS = 100
WORKFLOWS = 100
"""Workflows of each project; every one has a record."""
TARGETS = PROJECTS * WORKFLOWS
assert CACHE_SIZE < TARGETS
WARM_PROJECTS = 10
ROUNDS = 10

FILE: Document = {
    "defaults": {"cpu": "1", "memory": "500Mi"},
    "limits": {"cpu": "8", "memory": "32Gi"},
    "over_limit": "refuse",
}
DOMAIN: Document = {"limits": {"cpu": "4", "memory": "16Gi"}}
PROJECT: Document = {"defaults": {"cpu": "2"}, "limits": {"cpu": "3", "gpu": "1"}}
WORKFLOW: Document = {"defaults": {"memory": "1Gi"}, "unset": ["limits.gpu"]}


def stored() -> Settings:
    settings = Settings()
    records = [(SETTINGS_FILE, FILE), (Scope("development"), DOMAIN)]
    for project in range(PROJECTS):
        records.append((Scope("development", f"p{project}"), PROJECT))
        records += [(scope, WORKFLOW) for scope in workflows(project)]
    for revision, (scope, document) in enumerate(records, start=1):
        settings.apply(RecordChanged.at(scope, KIND, document), revision)
    return settings


def workflows(project: int) -> Iterator[Scope]:
    for workflow in range(WORKFLOWS):
        yield Scope("development", f"p{project}", f"w{workflow}")


def cold(settings: Settings) -> None:
    for project in range(PROJECTS):
        for target in workflows(project):
            settings.effective(KIND, target)


def warm(settings: Settings) -> None:
    """Request few targets; each target is a new object, as in a request to the API."""
    for turn in range(PROJECTS):
        for target in workflows(turn % WARM_PROJECTS):
            settings.effective(KIND, target)


def merge(_settings: Settings) -> None:
    for _ in range(TARGETS):
        merged(merged(merged(FILE, DOMAIN), PROJECT), WORKFLOW)


def merged(broad: Document, narrow: Document) -> Document:
    result = broad | narrow
    for name, value in narrow.items():
        if isinstance(value, dict) and name in broad:
            result[name] = broad[name] | value
    return result


def per_second(work: Callable[[Settings], None], settings: Settings) -> float:
    # The work waits for nothing, so the load of the machine by other processes must not count.
    began = time.process_time()
    work(settings)
    return TARGETS / (time.process_time() - began)


def run() -> None:
    """Print the best of several rounds; the three take turns, so that load affects all of them."""
    pairs = [(work, stored()) for work in (cold, merge, warm)]
    rounds = [[per_second(work, settings) for work, settings in pairs] for _ in range(ROUNDS)]
    first, merges, again = (max(column) for column in zip(*rounds, strict=True))
    print(line("effective values with provenance, cold", first, COLD_GOAL))
    print(line("limit: merge of the same documents", merges))
    print(f"{'share of the limit':<40}{first / merges:>12.1%}")
    print(line("effective values with provenance, warm", again, WARM_GOAL))


def line(name: str, rate: float, goal: int = 0) -> str:
    return f"{name:<40}{rate:>12,.0f}/s" + (f"  goal ≥ {goal:,}/s" if goal else "")


if __name__ == "__main__":
    run()
