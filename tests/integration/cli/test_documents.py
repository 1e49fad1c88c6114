"""apply, diff and export."""

import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from trimtab.cli import parts

CONFIG = "workflow-execution-config"


@pytest.fixture
def files(tmp_path: Path, project: str) -> Path:
    """Write a directory of documents, some in flytectl's format, for one project."""
    directory = tmp_path / "settings"
    (directory / "deep").mkdir(parents=True)
    (directory / "one.yaml").write_text(
        f"kind: task-resource-attribute\nproject: {project}\ndomain: staging\n"
        f'limits: {{cpu: "2"}}\n---\nkind: {CONFIG}\nproject: {project}\n'
        "labels: {values: {team: a}}\nenvs: {values: [{key: LOG, value: debug}]}\n---\n"
    )
    (directory / "deep" / "two.yml").write_text(
        f"kind: maintenance\nproject: {project}\nlabels: {{part: web}}\n"
        "document: {urgent: true}\n---\n"
        f"kind: project\nname: {project}-new\ndescription: made by apply\n"
    )
    (directory / ".hidden.yaml").write_text("kind: nonsense\n")
    (directory / "README.md").write_text("no document\n")
    return directory


def test_apply_stores_every_document_and_a_second_apply_changes_nothing(
    trimtab: Trimtab, files: Path, project: str
) -> None:
    done = trimtab("apply", "-f", str(files), "--reason", "first")
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [
            f"project {project}-new created",
            f"maintenance of project {project} created",
            f"task_resource of project-domain {project}/staging created",
            f"workflow_execution_config of project {project} created",
        ],
    )
    again = trimtab("apply", "-f", str(files)).stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in again] == ["unchanged"] * 4
    got = trimtab("get", CONFIG, "-p", project, "-o", "json")
    assert json.loads(got.stdout)["labels"] == {"values": {"team": "a"}}


def test_records_are_listed_by_scope_kind_and_level(
    trimtab: Trimtab, files: Path, project: str
) -> None:
    trimtab("apply", "-f", str(files))
    lines = trimtab("get", "records", "-p", project).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        "maintenance",
        "task_resource",
        "workflow_execution_config",
    ]
    assert lines[1].split()[-3:] == ["urgent:", "true", "part=web"]
    listed = ("get", "records", "-p", project, "-o", "json")
    for more, count in ((("--kind", CONFIG), 1), (("--level", "project"), 2)):
        assert len(json.loads(trimtab(*listed, *more).stdout)) == count


def test_diff_shows_the_changes_of_apply_and_exits_with_1_where_there_are_any(
    trimtab: Trimtab, files: Path, project: str
) -> None:
    different = trimtab("diff", "-f", str(files))
    assert different.exit_code == 1
    assert '    limits.cpu: - → "2"\n' in different.stdout
    assert "effective values change in 1 project, " in different.stdout
    assert trimtab("get", CONFIG, "-p", project).exit_code == 3
    trimtab("apply", "-f", str(files))
    equal = trimtab("diff", "-f", str(files))
    assert (equal.exit_code, equal.stdout) == (0, "")


def test_a_dry_run_shows_the_changes_and_stores_nothing(
    trimtab: Trimtab, files: Path, project: str
) -> None:
    done = trimtab("apply", "-f", str(files), "--dry-run")
    assert f"maintenance of project {project} would be created\n" in done.stdout
    assert "    urgent: - → true\n" in done.stdout
    assert trimtab("get", "maintenance", "-p", project).exit_code == 3


def test_prune_deletes_only_records_with_the_label(
    trimtab: Trimtab, files: Path, project: str
) -> None:
    label = f"owner={project}"
    trimtab("apply", "-f", str(files / "deep"))
    trimtab("apply", "-f", str(files / "one.yaml"), "--prune", label)
    (files / "one.yaml").write_text(
        f"kind: {CONFIG}\nproject: {project}\nenvs: {{values: [{{key: LOG, value: x}}]}}\n"
    )
    done = trimtab("apply", "-f", str(files / "one.yaml"), "--prune", label)
    assert done.stdout.splitlines() == [
        f"workflow_execution_config of project {project} changed",
        f"task_resource of project-domain {project}/staging deleted",
    ]
    assert trimtab("get", "maintenance", "-p", project).exit_code == 0


@pytest.mark.parametrize("content", ["", "# nothing\n", "kind: project\nname: {project}\n"])
def test_everything_of_a_label_is_pruned_only_where_a_flag_allows_it(
    trimtab: Trimtab, files: Path, tmp_path: Path, project: str, content: str
) -> None:
    label = f"owner={project}"
    trimtab("apply", "-f", str(files / "one.yaml"), "--prune", label)
    empty = tmp_path / "empty.yaml"
    empty.write_text(content.format(project=project))
    for command, code in (("apply", 1), ("diff", 8)):
        refused = trimtab(command, "-f", str(empty), "--prune", label)
        assert (refused.exit_code, "--allow-empty" in refused.stderr) == (code, True)
    assert trimtab("get", CONFIG, "-p", project).exit_code == 0
    arguments = ("-f", str(empty), "--prune", label, "--allow-empty")
    assert trimtab("diff", *arguments).exit_code == 1
    done = trimtab("apply", *arguments)
    assert f"workflow_execution_config of project {project} deleted" in done.stdout
    assert trimtab("get", CONFIG, "-p", project).exit_code == 3


def test_apply_accepts_an_export_unchanged(
    trimtab: Trimtab, files: Path, tmp_path: Path, project: str
) -> None:
    trimtab("apply", "-f", str(files))
    out = tmp_path / "out"
    assert trimtab("export", str(out)).exit_code == 0
    assert (out / "project" / project / "maintenance.yaml").read_text() == (
        f"kind: maintenance\nproject: {project}\nlabels:\n  part: web\ndocument:\n  urgent: true\n"
    )
    assert trimtab("diff", "-f", str(out)).exit_code == 0
    stream = trimtab("export", "-").stdout
    assert trimtab("diff", "-f", "-", stdin=stream).exit_code == 0


@pytest.fixture
def many(tmp_path: Path, project: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write more documents than one transaction takes: a project and twelve workflows in it."""
    monkeypatch.setattr(parts, "MAX_DOCUMENTS", 12)
    monkeypatch.setattr(parts, "PART_DOCUMENTS", 5)
    file = tmp_path / "many.yaml"
    records = [
        f"kind: workflow_priority\nproject: {project}-new\ndomain: staging\n"
        f"workflow: w{number:02}\ndocument: {{priority: {number}}}\n"
        for number in reversed(range(12))
    ]
    file.write_text("---\n".join([*records, f"kind: project\nname: {project}-new\n"]))
    return file


def test_documents_beyond_one_transaction_are_applied_in_parts_and_again(
    trimtab: Trimtab, many: Path, tmp_path: Path, project: str
) -> None:
    done = trimtab("apply", "-f", str(many))
    assert (done.exit_code, done.stdout) == (0, "13 created\n")
    assert "part 3 of 3: 13 of 13 documents\n" in done.stderr
    history = json.loads(
        trimtab("history", "-p", f"{project}-new", "-d", "staging", "-o", "json").stdout
    )
    assert len(history) == 12
    assert len({change["commit"] for change in history}) == 3
    out = tmp_path / "out"
    trimtab("export", str(out))
    again = trimtab("apply", "-f", str(out), "-o", "json")
    changes = json.loads(again.stdout)["changes"]
    assert len(changes) == sum(1 for _ in out.rglob("*.yaml")) >= 13
    assert {change["action"] for change in changes} == {"none"}
    assert [change["index"] for change in changes] == list(range(len(changes)))


def test_an_error_in_a_part_names_the_document_and_what_is_stored_and_can_be_repeated(
    trimtab: Trimtab, many: Path
) -> None:
    good = many.read_text()
    many.write_text(good.replace("{priority: 11}", "{priority: none}"))
    done = trimtab("apply", "-f", str(many))
    assert done.exit_code == 2
    assert "part 3 of 3 is not stored: " in done.stderr
    assert "many.yaml, document 1: priority" in done.stderr
    assert "the parts before it are: 10 documents" in done.stderr
    many.write_text(good)
    assert trimtab("apply", "-f", str(many)).stdout == "3 created, 10 unchanged\n"


@pytest.mark.parametrize("command", [("apply", "--prune", "owner=a"), ("apply", "--dry-run")])
def test_what_needs_all_documents_in_one_transaction_is_refused_for_too_many(
    trimtab: Trimtab, many: Path, command: tuple[str, ...], project: str
) -> None:
    done = trimtab(*command, "-f", str(many))
    assert (done.exit_code, "at most 20,000 documents" in done.stderr) == (1, True)
    assert trimtab("diff", "-f", str(many)).exit_code == 8
    assert f"{project}-new" not in trimtab("get", "projects").stdout


def test_export_into_a_directory_that_is_not_empty_needs_force(
    trimtab: Trimtab, files: Path
) -> None:
    done = trimtab("export", str(files))
    assert (done.exit_code, "is not empty; --force" in done.stderr) == (1, True)
    assert trimtab("export", str(files), "--force").exit_code == 0


def test_the_kind_of_flytectls_files_is_set_by_a_flag(
    trimtab: Trimtab, tmp_path: Path, project: str
) -> None:
    file = tmp_path / "tra.yaml"
    file.write_text(f'project: {project}\ndomain: staging\nlimits: {{cpu: "1"}}\n')
    assert trimtab("apply", "-f", str(file)).exit_code == 2
    done = trimtab("apply", "-f", str(file), "--kind", "task-resource-attributes")
    assert done.stdout == f"task_resource of project-domain {project}/staging created\n"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("limits: {cpu: '1'}", 2, "file.yaml: kind: null is not valid"),
        ("kind: nothing\nproject: x", 3, "kind 'nothing' does not exist; there are: "),
        ("kind: task_resource\nlimits: {cpu: '1'}", 2, "file.yaml: null is not valid; allowed: a"),
        ("kind: task_resource\nproject: P\nlimit: {}", 2, "file.yaml: limit: {} is not valid"),
        ("kind: task_resource\nproject: P\ndocuments: {}", 2, "file.yaml: documents: {} is not"),
        ("kind: task_resource\nprojects: P\ndocument: {}", 2, "file.yaml: projects: 'P' is not"),
        ("kind: project\nname: P\nstate: asleep", 2, "file.yaml: state: 'asleep' is not valid"),
        ("- 1", 2, "file.yaml: [1] is not valid; allowed: a mapping"),
        ("", 1, "file.yaml: there is no document"),
        (
            "kind: project\nname: P-no\n---\nkind: task_resource\nproject: P\n"
            "document: {limits: {cpu: 1GB}}",
            2,
            "file.yaml, document 2: limits.cpu: '1GB' is not valid",
        ),
    ],
)
def test_the_error_for_a_wrong_document_names_file_and_field_and_nothing_is_stored(
    trimtab: Trimtab, tmp_path: Path, project: str, text: str, code: int, message: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text.replace("P", project))
    done = trimtab("apply", "-f", str(file))
    assert (done.exit_code, message.replace("P", project) in done.stderr) == (code, True), (
        done.stderr
    )
    assert f"{project}-no" not in trimtab("get", "projects").stdout


def test_the_exit_code_for_errors_of_diff_is_not_that_for_differences(
    trimtab: Trimtab, tmp_path: Path
) -> None:
    assert trimtab("diff", "-f", str(tmp_path / "nowhere")).exit_code == 8
    assert trimtab("diff", "-f", str(tmp_path), "--data", str(tmp_path)).exit_code == 8
