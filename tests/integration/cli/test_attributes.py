"""get, update and delete of settings, with flytectl's messages."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from tests.integration.embedded.running import TRIMTAB
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS

TASK = "task-resource-attribute"
CLUSTER = "cluster-resource-attribute"


@pytest.fixture
def file(tmp_path: Path, project: str) -> Path:
    """Write an attribute file with limits of the project in development."""
    path = tmp_path / "tra.yaml"
    path.write_text(f'project: {project}\ndomain: development\nlimits: {{cpu: "2"}}\n')
    return path


@pytest.fixture
def stored(trimtab: Trimtab, file: Path) -> Path:
    """Store the limits of the file."""
    assert trimtab("update", TASK, "--attrFile", str(file), "--force").exit_code == 0
    return file


def test_an_update_shows_the_changes_prompts_and_stores_them(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    done = trimtab("update", TASK, "--attrFile", str(file), stdin="what?\ny\n")
    assert done.stdout == (
        "The following changes are to be applied.\n"
        "--- before\n+++ after\n@@ -1,2 +1,4 @@\n-null\n"
        '+TaskResourceAttributes:\n+    limits:\n+        cpu: "2"\n \n\n'
        f"Continue? [y/n]: Updated attributes from {project} project and domain development\n"
    )
    got = trimtab("get", TASK, "-p", project, "-d", "development")
    assert (
        got.stdout == f'{{"project":"{project}","domain":"development","limits":{{"cpu":"2"}}}}\n'
    )


def test_the_warnings_of_a_write_are_printed_on_stderr(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    text = file.read_text()
    file.write_text(text.replace('cpu: "2"', 'gpu: "0"'))
    updated = trimtab("update", TASK, "--attrFile", str(file), "--force")
    assert updated.stderr.startswith("warning: limits.gpu is '0', so no task may have any; ")
    scope = ("-p", project, "-d", "development")
    [first] = json.loads(trimtab("history", TASK, *scope, "-o", "json").stdout)
    file.write_text(text)
    trimtab("update", TASK, "--attrFile", str(file), "--force")
    restored = trimtab("rollback", TASK, "--to", str(first["revision"]), *scope, "--force")
    assert "limits.gpu is '0'" in restored.stderr


def test_an_update_that_is_not_confirmed_stores_nothing(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    for answer in ("n\n", ""):
        done = trimtab("update", TASK, "--attrFile", str(file), stdin=answer)
        assert (done.exit_code, done.stderr) == (1, "Error: update aborted by user\n")
    assert trimtab("get", TASK, "-p", project, "-d", "development").exit_code == 3


def test_a_dry_run_neither_prompts_nor_stores(trimtab: Trimtab, file: Path, project: str) -> None:
    done = trimtab("update", TASK, "--attrFile", str(file), "--dryRun")
    assert done.stdout.endswith("Skipping update request (dryRun)\n")
    assert trimtab("get", TASK, "-p", project, "-d", "development").exit_code == 3


def test_an_update_from_the_same_file_changes_nothing(trimtab: Trimtab, stored: Path) -> None:
    done = trimtab("update", TASK, "--attrFile", str(stored))
    assert (done.exit_code, done.stdout) == (0, "No changes detected. Skipping the update.\n")


def test_a_change_during_the_prompt_is_not_overwritten(
    trimtab: Trimtab, data: Path, stored: Path, project: str
) -> None:
    stored.write_text(stored.read_text().replace('"2"', '"3"'))
    command = [TRIMTAB, "update", TASK, "--attrFile", str(stored), "--data", str(data)]
    pipe = subprocess.PIPE
    starting = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with ended(starting) as prompting:
        assert prompting.stdout is not None
        while prompting.stdout.read(1) != "?":
            pass
        stored.write_text(stored.read_text().replace('"3"', '"4"'))
        assert trimtab("update", TASK, "--attrFile", str(stored), "--force").exit_code == 0
        _out, err = prompting.communicate("y\n", timeout=PATIENCE_SECONDS)
    assert prompting.returncode == 5
    assert err.startswith(
        f"Error: update project {project} domain development matchable attributes: update failed: "
    )
    assert "the request is based on version" in err
    assert '{"cpu":"4"}' in trimtab("get", TASK, "-p", project, "-d", "development").stdout


def test_get_of_a_workflow_shows_an_inherited_record_and_names_its_scope(
    trimtab: Trimtab, stored: Path, project: str
) -> None:
    got = trimtab("get", TASK, "-p", project, "-d", "development", "a.workflow")
    assert json.loads(got.stdout)["workflow"] == "a.workflow"
    assert f"this is inherited from project-domain {project}/development" in got.stderr


def test_a_workflow_can_store_the_value_that_it_inherits(
    trimtab: Trimtab, stored: Path, project: str
) -> None:
    stored.write_text(stored.read_text() + "workflow: a.workflow\n")
    done = trimtab("update", TASK, "--attrFile", str(stored), "--force")
    target = f"{project} project and domain development and workflow a.workflow"
    assert done.stdout.endswith(f"Updated attributes from {target}\n")
    got = trimtab("get", TASK, "-p", project, "-d", "development", "a.workflow")
    assert (got.exit_code, "inherited" in got.stderr) == (0, False)


def test_the_plural_is_an_alias_for_get_and_delete_only(
    trimtab: Trimtab, stored: Path, project: str
) -> None:
    flags = ("-p", project, "-d", "development")
    assert trimtab("get", TASK + "s", *flags).exit_code == 0
    assert trimtab("delete", TASK + "s", *flags).exit_code == 0
    assert trimtab("get", TASK + "s", *flags).exit_code == 3
    assert trimtab("update", TASK + "s", "--attrFile", str(stored)).exit_code == 2


@pytest.mark.parametrize("source", ["flags", "file"])
def test_a_delete_removes_one_record_and_can_be_repeated(
    trimtab: Trimtab, stored: Path, project: str, source: str
) -> None:
    flags = ["-p", project, "-d", "development"] if source == "flags" else []
    flags += ["--attrFile", str(stored)] if source == "file" else []
    dry = trimtab("delete", TASK, *flags, "--dryRun")
    assert dry.stdout == "skipping DeleteProjectDomainAttributes request (dryRun)\n"
    for _ in range(2):
        done = trimtab("delete", TASK, *flags)
        target = f"{project} project and domain development"
        assert done.stdout == f"Deleted matchable resources from {target}\n"
    assert trimtab("get", TASK, "-p", project, "-d", "development").exit_code == 3


def test_update_accepts_a_file_that_get_wrote(
    trimtab: Trimtab, stored: Path, project: str, tmp_path: Path
) -> None:
    written = tmp_path / "written.yaml"
    done = trimtab("get", TASK, "-p", project, "-d", "development", "--attrFile", str(written))
    assert done.stdout == f"wrote the config to file {written}\n"
    assert written.read_text() == (
        f'domain: development\nlimits:\n  cpu: "2"\nproject: {project}\n'
    )
    assert written.stat().st_mode & 0o777 == 0o600
    again = trimtab("update", TASK, "--attrFile", str(written))
    assert again.stdout == "No changes detected. Skipping the update.\n"


def test_an_existing_file_is_overwritten_only_after_confirmation(
    trimtab: Trimtab, stored: Path, project: str
) -> None:
    before = stored.read_text()
    get = ("get", TASK, "-p", project, "-d", "development", "--attrFile", str(stored))
    done = trimtab(*get, stdin="n\n")
    assert done.stdout == f"warning file {stored} will be overwritten [y/n]: "
    assert done.stderr == (
        "Error: error dumping in file due to backup the file before continuing\n"
    )
    assert stored.read_text() == before
    assert trimtab(*get, stdin="y\n").exit_code == 0


@pytest.mark.parametrize(
    ("scope", "flags", "target"),
    [
        ("", ["--platform"], "the platform"),
        ("domain: staging\n", [], "domain staging"),
        ("project: {project}\n", [], "{project} project"),
        (
            "project: {project}\ndomain: staging\nworkflow: w\nlaunch_plan: l\n",
            [],
            "{project} project and domain staging and workflow w and launch plan l",
        ),
    ],
)
def test_levels_that_flytectl_does_not_have_can_be_written_and_deleted(
    trimtab: Trimtab, project: str, tmp_path: Path, scope: str, flags: list[str], target: str
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(scope.format(project=project) + "priority: 7\n")
    noun = "workflow-priority"
    done = trimtab("update", noun, "--attrFile", str(file), "--force", *flags)
    assert done.stdout.endswith(f"Updated attributes from {target.format(project=project)}\n")
    done = trimtab("delete", noun, "--attrFile", str(file), *flags)
    end = " " if target.endswith(" project") else ""
    expected = f"Deleted matchable resources from {target.format(project=project)}{end}\n"
    assert done.stdout == expected


def test_output_can_be_json_yaml_or_a_table(trimtab: Trimtab, stored: Path, project: str) -> None:
    get = ("get", TASK, "-p", project, "-d", "development", "-o")
    assert json.loads(trimtab(*get, "json").stdout)["limits"] == {"cpu": "2"}
    assert "limits:\n  cpu: '2'\n" in trimtab(*get, "YAML").stdout
    heading, row = trimtab(*get, "table").stdout.splitlines()
    assert heading.split() == ["FIELD", "VALUE", "SCOPE", "VERSION"]
    assert row.split()[:4] == ["limits.cpu", "2", "project-domain", f"{project}/development"]
