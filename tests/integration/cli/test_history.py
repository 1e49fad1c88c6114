"""history, rollback and watch; effective and explain."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from tests.integration.embedded.running import TRIMTAB
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS

PRIORITY = "workflow-priority"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "priority.yaml"


@pytest.fixture
def changed(trimtab: Trimtab, file: Path, project: str) -> str:
    """Store priority 1, then 2, for the project; return its name."""
    for priority in (1, 2):
        file.write_text(f"kind: {PRIORITY}\nproject: {project}\npriority: {priority}\n")
        assert trimtab("apply", "-f", str(file), "--reason", f"to {priority}").exit_code == 0
    return project


def revisions(trimtab: Trimtab, project: str) -> list[int]:
    """Return the revisions of the project's priority, newest first."""
    done = trimtab("history", PRIORITY, "-p", project, "-o", "json")
    return [change["revision"] for change in json.loads(done.stdout)]


def test_history_of_a_record_shows_each_change_with_author_and_reason(
    trimtab: Trimtab, changed: str
) -> None:
    lines = trimtab("history", PRIORITY, "-p", changed).stdout.splitlines()
    assert lines[0].split() == ["REVISION", "AT", "BY", "ACTION", "OF", "CHANGES", "REASON"]
    assert f"workflow_priority of project {changed}  priority: 1 → 2" in lines[1]
    assert lines[1].endswith("to 2")
    assert "create" in lines[2]


def test_history_of_a_scope_includes_every_kind_and_the_project(
    trimtab: Trimtab, changed: str
) -> None:
    done = trimtab("history", "-p", changed, "-o", "json")
    kinds = [change["kind"] for change in json.loads(done.stdout)]
    assert kinds[:2] == ["workflow_priority", "workflow_priority"]
    assert len(trimtab("history", "-p", changed, "--limit", "1").stdout.splitlines()) == 2
    newest, *_ = revisions(trimtab, changed)
    assert trimtab("history", "-p", changed, "--since", str(newest)).stdout.count("\n") == 1
    named = trimtab("history", "project", "-o", "json")
    assert changed in [change["name"] for change in json.loads(named.stdout)]


def test_rollback_shows_the_change_prompts_and_restores_a_revision(
    trimtab: Trimtab, changed: str
) -> None:
    _newest, first = revisions(trimtab, changed)
    command = ("rollback", PRIORITY, "-p", changed, "--to", str(first))
    assert trimtab(*command, stdin="n\n").exit_code == 1
    assert trimtab(*command, "--dry-run").stdout.endswith(": 2 → 1\n")
    done = trimtab(*command, stdin="y\n")
    assert "    priority: 2 → 1\n" in done.stdout
    assert done.stdout.endswith(
        f"Rolled workflow_priority of project {changed} back to revision {first}\n"
    )
    assert '"priority":1' in trimtab("get", PRIORITY, "-p", changed).stdout
    assert "No changes detected" in trimtab(*command).stdout


def test_rollback_restores_a_deleted_record(trimtab: Trimtab, changed: str) -> None:
    newest, *_ = revisions(trimtab, changed)
    trimtab("delete", PRIORITY, "-p", changed)
    done = trimtab("rollback", PRIORITY, "-p", changed, "--to", str(newest), "--force")
    assert (done.exit_code, revisions(trimtab, changed)[0] > newest) == (0, True)
    assert '"priority":2' in trimtab("get", PRIORITY, "-p", changed).stdout


def test_the_error_for_an_unknown_revision_lists_the_revisions(
    trimtab: Trimtab, changed: str
) -> None:
    done = trimtab("rollback", PRIORITY, "-p", changed, "--to", "1")
    assert done.exit_code == 3
    assert ", ".join(map(str, revisions(trimtab, changed))) in done.stderr
    huge = trimtab("rollback", PRIORITY, "-p", changed, "--to", str(2**70))
    assert (huge.exit_code, "Error: revision: " in huge.stderr) == (2, True)


def test_watch_prints_past_changes_after_a_revision(trimtab: Trimtab, changed: str) -> None:
    _newest, first = revisions(trimtab, changed)
    done = trimtab("watch", "-p", changed, "--since", str(first), "--limit", "1")
    assert f"workflow_priority of project {changed}  priority: 1 → 2  to 2\n" in done.stdout
    command = ("watch", PRIORITY, "--since", str(first - 1), "--limit", "2", "-o", "json")
    lines = trimtab(*command).stdout.splitlines()
    assert [json.loads(line)["after"]["priority"] for line in lines] == [1, 2]


def test_watch_prints_changes_when_they_are_committed(
    trimtab: Trimtab, data: Path, file: Path, changed: str
) -> None:
    [newest, _] = revisions(trimtab, changed)
    command = [TRIMTAB, "watch", "-p", changed, "--since", str(newest - 1), "--limit", "2"]
    command += ["--data", str(data)]
    with ended(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as watching:
        assert watching.stdout is not None
        assert "priority: 1 → 2" in watching.stdout.readline()
        trimtab("delete", PRIORITY, "-p", changed)
        assert "priority: 2 → -" in watching.stdout.readline()
        assert watching.wait(PATIENCE_SECONDS) == 0


def test_watch_from_a_future_revision_is_rejected(trimtab: Trimtab) -> None:
    done = trimtab("watch", "--since", "999999999")
    assert (done.exit_code, "the newest is" in done.stderr) == (3, True)


def test_effective_shows_every_kind_with_its_scope(trimtab: Trimtab, changed: str) -> None:
    done = trimtab("effective", "-p", changed, "-d", "staging", "-w", "any.workflow")
    found = [line.split() for line in done.stdout.splitlines()]
    [priority] = [line for line in found if line[0] == "workflow_priority"]
    assert priority[1:5] == ["priority", "2", "project", changed]
    assert ["task_resource", "limits.cpu", "2", "settings"] in [line[:4] for line in found]
    body = json.loads(trimtab("effective", "-p", changed, "-o", "json").stdout)
    assert body["kinds"]["workflow_priority"]["document"] == {"priority": 2}


def test_explain_shows_the_chain_and_the_sources_that_each_value_overrides(
    trimtab: Trimtab, changed: str, file: Path
) -> None:
    file.write_text(f"kind: {PRIORITY}\nproject: {changed}\ndomain: staging\npriority: 7\n")
    trimtab("apply", "-f", str(file), "--reason", "urgent")
    done = trimtab("explain", PRIORITY, "-p", changed, "-d", "staging")
    chain, leaves = done.stdout.split("\n\n")[1:]
    assert [line.split()[0] for line in chain.splitlines()[1:]] == [
        "settings",
        "platform",
        "domain",
        "project",
        "project-domain",
    ]
    first, second = leaves.splitlines()[1:]
    assert first.split()[:4] == ["priority", "7", "project-domain", f"{changed}/staging"]
    assert (first.endswith("urgent"), second.endswith("to 2")) == (True, True)
    assert second.split()[:5] == ["instead", "of", "2", "project", changed]


def test_explain_as_flyte_shows_the_differences(trimtab: Trimtab, project: str, file: Path) -> None:
    file.write_text(
        f"kind: task_resource\nproject: {project}\ndomain: staging\ndefaults: {{cpu: 200m}}\n"
    )
    trimtab("apply", "-f", str(file))
    command = ("explain", "task_resource", "-p", project, "-d", "staging", "--as-flyte")
    compared = trimtab(*command).stdout.split("\n\n")[-1].splitlines()
    assert compared[0].split() == ["FIELD", "HERE", "FLYTE", "1"]
    assert ["limits.memory", "1Gi", "-"] in [line.split() for line in compared]
    assert trimtab("explain", PRIORITY, "-p", project, "--as-flyte").exit_code == 1


def test_explain_of_an_unknown_kind_is_rejected(trimtab: Trimtab) -> None:
    done = trimtab("explain", "nothing", "-p", "x")
    assert (done.exit_code, "kind 'nothing' does not exist" in done.stderr) == (3, True)


def test_a_reason_in_any_language_is_kept(trimtab: Trimtab, project: str) -> None:
    reason = "größer für α und 日本"
    text = f"kind: workflow-priority\nproject: {project}\npriority: 5\n"
    apply = ("apply", "-f", "-", "--reason")
    assert trimtab(*apply, reason, stdin=text).exit_code == 0
    assert reason in trimtab("history", "-p", project).stdout
    refused = trimtab(*apply, "a\nb", stdin=text)
    assert (refused.exit_code, "reason: 'a\\nb' is not valid" in refused.stderr) == (2, True)
