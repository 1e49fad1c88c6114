"""Cold effective values a second in one process, with provenance, beside a plain merge.

One kind, a chain of four records. Every target is asked for once in a round, and there are more of
them than any cache holds. The limit merges the same four documents, already found, and knows
nothing of where a value is from. Run as ``python -m bench.fold``.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from trimtab.events import RecordChanged
from trimtab.levels import SETTINGS_FILE, Scope
from trimtab.state import Settings

Document = dict[str, Any]

KIND = "task_resource"
GOAL = 50_000
PROJECTS = 100
WORKFLOWS = 100
"""Of each project, every one with a record of its own."""
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


def fold_all(settings: Settings) -> None:
    for project in range(PROJECTS):
        for target in workflows(project):
            settings.effective(KIND, target)


def merge_all(_settings: Settings) -> None:
    for _ in range(PROJECTS * WORKFLOWS):
        merged(merged(merged(FILE, DOMAIN), PROJECT), WORKFLOW)


def merged(broad: Document, narrow: Document) -> Document:
    result = broad | narrow
    for name, value in narrow.items():
        if isinstance(value, dict) and name in broad:
            result[name] = broad[name] | value
    return result


def per_second(work: Callable[[Settings], None], settings: Settings) -> float:
    began = time.perf_counter()
    work(settings)
    return PROJECTS * WORKFLOWS / (time.perf_counter() - began)


def run() -> None:
    """The best of some rounds, which take turns, so that a busy moment meets both."""
    settings = stored()
    rounds = [
        (per_second(fold_all, settings), per_second(merge_all, settings)) for _ in range(ROUNDS)
    ]
    values, merges = (max(column) for column in zip(*rounds, strict=True))
    print(f"{'effective values with provenance':<40}{values:>12,.0f}/s  goal {GOAL:,}/s")
    print(f"{'limit: merge of the same documents':<40}{merges:>12,.0f}/s")
    print(f"{'share of the limit':<40}{values / merges:>12.1%}")


if __name__ == "__main__":
    run()
