"""Archived projects, dead letters and resync."""

import json
import re

import pytest

from tests.integration.cli.conftest import Trimtab
from trimtab.messages import subjects


def test_a_project_is_archived_and_unarchived(trimtab: Trimtab, project: str) -> None:
    assert trimtab("archive", "project", project).stdout == f"Archived project {project}\n"
    assert "archived" in trimtab("get", "project", project).stdout
    assert trimtab("unarchive", "project", project).exit_code == 0
    assert "active" in trimtab("get", "project", project).stdout
    assert trimtab("archive", "project", "unknown").exit_code == 3


def test_an_update_of_a_project_keeps_other_fields_and_labels(
    trimtab: Trimtab, project: str
) -> None:
    assert trimtab("update", "project", project, "--description", "Shop").exit_code == 0
    labels = ("--label", "team=a", "--label", "cost=5")
    assert trimtab("update", "project", project, *labels).exit_code == 0
    assert trimtab("update", "project", project, "--label", "cost=").exit_code == 0
    [found] = json.loads(trimtab("get", "project", project, "-o", "json").stdout)
    assert (found["description"], found["labels"]) == ("Shop", {"team": "a"})
    assert trimtab("update", "project", project).exit_code == 2
    assert trimtab("update", "project", project, "--label", "x").exit_code == 2


@pytest.mark.usefixtures("letter")
def test_dead_letters_are_listed_with_their_reasons(trimtab: Trimtab) -> None:
    done = trimtab("dead", "list", "--stream", subjects.EXECUTIONS)
    assert "no such pool" in done.stdout
    assert trimtab("dead", "list", "--consumer", "unknown").stderr == "there are none\n"


def test_a_dead_letter_is_shown_with_its_body_and_deleted_by_a_replay(
    trimtab: Trimtab, letter: int
) -> None:
    shown = trimtab("dead", "show", str(letter), "-o", "json")
    assert json.loads(shown.stdout)["body"] == '{"why": "a test"}'
    assert "no such pool" in trimtab("dead", "show", str(letter)).stdout
    replayed = trimtab("dead", "replay", str(letter))
    assert re.fullmatch(rf"Replayed {letter} as \d+ of EXECUTIONS\n", replayed.stdout)
    assert trimtab("dead", "show", str(letter)).exit_code == 3


def test_a_resync_reports_counts_and_writes_new_versions(trimtab: Trimtab, project: str) -> None:
    before = trimtab("get", "project", project, "-o", "json")
    done = trimtab("resync")
    report = re.match(r"Published (\d+) settings and \d+ executions again; ", done.stdout)
    assert report is not None
    assert int(report[1]) > 5
    after = trimtab("get", "project", project, "-o", "json")
    versions = [json.loads(got.stdout)[0]["version"] for got in (before, after)]
    assert versions[0] < versions[1]
