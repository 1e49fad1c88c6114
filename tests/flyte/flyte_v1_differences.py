"""The differences to the recorded Flyte 1 that are meant, each with where it is documented."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.flyte.rows import Row

Steps = Mapping[str, Sequence[int]]
"""Steps of rows by their scenario."""


class Difference(NamedTuple):
    """Rows whose responses differ, for one reason."""

    anchor: str
    """The heading in docs/flyte-compatibility.md."""
    steps: Steps
    fields: frozenset[str] = frozenset()
    """The fields that differ; empty where any may."""

    def keys(self) -> Iterator[tuple[str, int]]:
        for scenario, steps in self.steps.items():
            for step in steps:
                yield scenario, step

    def covers(self, row: Row, field: str) -> bool:
        return row.step in self.steps.get(row.scenario, ()) and (
            not self.fields or field in self.fields
        )


DIFFERENCES: Sequence[Difference] = (
    Difference(
        "exact-delete",
        {
            "delete-cascade-project": [13],
            "trailing-slash": [17, 18],
        },
    ),
    Difference(
        "an-empty-project-is-refused",
        {
            "empty-project-overwrites": range(5, 17),
            "empty-project-delete-domain": [7, 8],
            "empty-project-workflow": [5],
            "empty-project-first-archived": [4, 5, 8],
            "trailing-slash": [14, 15],
        },
    ),
    Difference(
        "plugin-overrides-of-a-project",
        {"plugin-override-project-level": [2, 3, 4, 5]},
    ),
    Difference(
        "merges-of-plugin-overrides",
        {"plugin-override-lands-in-workflow-row": [4, 5]},
    ),
    Difference(
        "quality-of-service-can-be-set",
        {
            "project-QUALITY_OF_SERVICE_SPECIFICATION": range(3, 8),
            "workflow-QUALITY_OF_SERVICE_SPECIFICATION": range(3, 8),
            "wrong-oneof": [3, 4, 6],
        },
    ),
    Difference(
        "values-are-checked",
        {
            "no-content-checks": [2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 16, 17],
            "workflow-execution-config-project": [11, 12, 14],
            "rest-values": [31, 32, 33, 40, 41, 46, 47],
        },
    ),
    Difference(
        "cluster-resources-of-workflows",
        {
            "delete-cascade-project": [6, 10],
            "delete-workflow-only": [5],
            "empty-project-workflow": [3, 4],
        },
    ),
    Difference(
        "empty-labels-of-a-project",
        {"project-register-validation": [29], "project-update": [9, 11, 14, 17, 31]},
        frozenset({"message_json"}),
    ),
    Difference(
        "names-of-projects",
        {"project-register-validation": [13, 32], "project-register-rest": [12, 13, 14]},
    ),
    Difference("lists-of-projects", {"project-list": [46]}),
    Difference(
        "states-of-projects",
        {"project-update": range(18, 24)},
    ),
    Difference(
        "large-messages",
        {"big-messages": [2, 3, 4]},
    ),
    Difference(
        "the-version",
        {"domains-version-health": [5, 6, 7]},
        frozenset({"message_json", "body"}),
    ),
    Difference(
        "other-paths",
        {"domains-version-health": [10], "project-register-rest": [29, 31, 32]},
    ),
    Difference("other-origins", {"project-register-rest": [40, 41, 42]}),
    Difference("long-texts", {"long-error": [7, 9]}),
    Difference(
        "other-rpcs",
        {"executions-without-cluster": range(2, 9)},
    ),
)
