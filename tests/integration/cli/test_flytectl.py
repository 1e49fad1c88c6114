"""Texts, samples, merges and flags that scripts written for flytectl rely on."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from tests.integration.embedded.running import TRIMTAB
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS
from trimtab import kinds

PLUGIN = "plugin-override"
TASK = "task-resource-attribute"


def overrides(project: str, *entries: tuple[str, str]) -> str:
    """Return an attribute file with a plugin for each type of task."""
    listed = ", ".join(f"{{task_type: {type}, plugin_id: [{id}]}}" for type, id in entries)
    return f"project: {project}\ndomain: development\noverrides: [{listed}]\n"


def plugins(trimtab: Trimtab, project: str) -> dict[str, list[str]]:
    got = json.loads(trimtab("get", PLUGIN, "-p", project, "-d", "development").stdout)
    return {entry["task_type"]: entry["plugin_id"] for entry in got["overrides"]}


@pytest.fixture
def file(tmp_path: Path, project: str) -> Path:
    """Write an attribute file with limits of the project in development."""
    path = tmp_path / "tra.yaml"
    path.write_text(f'project: {project}\ndomain: development\nlimits: {{cpu: "2"}}\n')
    return path


@pytest.fixture
def merged(trimtab: Trimtab, tmp_path: Path, project: str) -> Path:
    """Store two plugin overrides, and return a file with another and a changed one."""
    path = tmp_path / "po.yaml"
    path.write_text(overrides(project, ("spark", "a"), ("ray", "b")))
    assert trimtab("update", PLUGIN, "--attrFile", str(path), "--force").exit_code == 0
    path.write_text(overrides(project, ("ray", "c"), ("dask", "d")))
    return path


def test_an_update_of_plugin_overrides_keeps_those_of_other_task_types(
    trimtab: Trimtab, merged: Path, project: str
) -> None:
    done = trimtab("update", PLUGIN, "--attrFile", str(merged), "--force")
    assert [line for line in done.stdout.splitlines() if line.startswith("-  ")] == [
        "-            - b"
    ]
    assert plugins(trimtab, project) == {"spark": ["a"], "ray": ["c"], "dask": ["d"]}
    again = trimtab("update", PLUGIN, "--attrFile", str(merged))
    assert again.stdout == "No changes detected. Skipping the update.\n"


@pytest.mark.parametrize(
    ("other", "code", "left"),
    [
        ("spark", 0, {"spark": ["x"], "ray": ["c"], "dask": ["d"]}),
        ("hive", 0, {"spark": ["a"], "ray": ["c"], "dask": ["d"], "hive": ["x"]}),
        ("dask", 5, {"spark": ["a"], "ray": ["b"], "dask": ["x"]}),
    ],
)
def test_a_merge_loses_no_override_that_is_stored_during_the_prompt(
    trimtab: Trimtab,
    data: Path,
    merged: Path,
    project: str,
    other: str,
    code: int,
    left: dict[str, list[str]],
) -> None:
    command = [TRIMTAB, "update", PLUGIN, "--attrFile", str(merged), "--data", str(data)]
    pipe = subprocess.PIPE
    starting = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    with ended(starting) as prompting:
        assert prompting.stdout is not None
        while prompting.stdout.read(1) != "?":
            pass
        concurrent = merged.with_name("concurrent.yaml")
        concurrent.write_text(overrides(project, (other, "x")))
        assert trimtab("update", PLUGIN, "--attrFile", str(concurrent), "--force").exit_code == 0
        prompting.communicate("y\n", timeout=PATIENCE_SECONDS)
    assert prompting.returncode == code
    assert plugins(trimtab, project) == left


@pytest.mark.parametrize("noun", [kind.noun for kind in kinds.registered().values()])
def test_a_sample_is_generated_where_nothing_is_stored_and_can_be_stored(
    trimtab: Trimtab, project: str, tmp_path: Path, noun: str
) -> None:
    get = ("get", noun, "-p", project, "-d", "development")
    done = trimtab(*get, "--gen")
    first, line = done.stdout.splitlines()
    assert first == f"Generating a sample {noun.replace('-', ' ')} file"
    path = tmp_path / "gen.yaml"
    written = trimtab(*get, "--gen", "--attrFile", str(path))
    assert written.stdout == f"{first}\nwrote the config to file {path}\n"
    assert trimtab("update", noun, "--attrFile", str(path), "--force").exit_code == 0
    assert trimtab(*get, "--gen").stdout == f"{line}\n"


def test_the_sample_of_a_workflow_execution_config_is_flytectls(
    trimtab: Trimtab, project: str
) -> None:
    get = ("get", "workflow-execution-config", "-p", project, "-d", "development", "wf", "--gen")
    assert trimtab(*get).stdout == (
        "Generating a sample workflow execution config file\n"
        f'{{"project":"{project}","domain":"development","workflow":"wf","max_parallelism":10,'
        '"security_context":{"run_as":{"k8s_service_account":"default"}},'
        '"raw_output_data_config":{"output_location_prefix":"cliOutputLocationPrefix"},'
        '"labels":{"values":{"cliLabelKey":"cliLabelValue"}},'
        '"annotations":{"values":{"cliAnnotationKey":"cliAnnotationValue"}}}\n'
    )


def test_a_kind_that_only_the_server_has_has_a_sample(trimtab: Trimtab, project: str) -> None:
    done = trimtab("get", "maintenance", "-p", project, "--gen", "-o", "json")
    assert json.loads(done.stdout.splitlines()[1]) == {
        "project": project,
        "window": {"hours": [1], "zone": "value"},
        "contacts": {"key": "value"},
        "urgent": True,
    }


def test_json_is_one_line_as_without_an_output_format(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    trimtab("update", TASK, "--attrFile", str(file), "--force")
    get = ("get", TASK, "-p", project, "-d", "development")
    assert trimtab(*get, "-o", "json").stdout == trimtab(*get).stdout
    assert trimtab(*get, "-o", "json").stdout.count("\n") == 1


@pytest.mark.parametrize("flags", [["-p", "other", "-d", "staging", "-w", "w"], ["-d", "staging"]])
def test_the_scope_of_a_file_has_priority_over_flags_with_a_warning(
    trimtab: Trimtab, file: Path, project: str, flags: list[str]
) -> None:
    done = trimtab("update", TASK, "--attrFile", str(file), "--force", *flags)
    target = f"{project} project and domain development"
    assert done.stdout.endswith(f"Updated attributes from {target}\n")
    assert "domain 'staging'" in done.stderr
    deleted = trimtab("delete", TASK, "--attrFile", str(file), *flags)
    assert deleted.stdout == f"Deleted matchable resources from {target}\n"
    assert f"of the command line is ignored: {file} has project {project}" in deleted.stderr


def test_an_attribute_file_is_read_from_standard_input(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    text = file.read_text()
    done = trimtab("update", TASK, "--attrFile", "-", "--force", stdin=text)
    assert done.exit_code == 0
    got = trimtab("get", TASK, "-p", project, "-d", "development", "--attrFile", "-")
    again = trimtab("update", TASK, "--attrFile", "-", "--force", stdin=got.stdout)
    assert again.stdout == "No changes detected. Skipping the update.\n"
    deleted = trimtab("delete", TASK, "--attrFile", "-", stdin=text)
    assert deleted.exit_code == 0
    assert trimtab("get", TASK, "-p", project, "-d", "development").exit_code == 3


def test_a_prompt_cannot_be_answered_on_the_input_that_holds_the_file(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    text = file.read_text()
    done = trimtab("update", TASK, "--attrFile", "-", stdin=f"{text}y\n")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "use --force, or --dry-run" in done.stderr
    dry = trimtab("update", TASK, "--attrFile", "-", "--dry-run", stdin=text)
    assert dry.stdout.endswith("Skipping update request (dryRun)\n")


def test_a_dry_run_is_checked_by_the_server(trimtab: Trimtab, file: Path, project: str) -> None:
    file.write_text(file.read_text().replace(project, "nowhere"))
    for spelling in ("--dry-run", "--dryRun"):
        assert trimtab("update", TASK, "--attrFile", str(file), spelling).exit_code == 3


def test_a_dry_run_of_a_delete_names_what_would_change(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    delete = ("delete", TASK, "--attrFile", str(file), "--dry-run")
    skipped = "skipping DeleteProjectDomainAttributes request (dryRun)\n"
    assert trimtab(*delete).stderr == "nothing is stored there\n"
    trimtab("update", TASK, "--attrFile", str(file), "--force")
    done = trimtab(*delete)
    assert done.stdout == skipped
    assert '    limits.cpu: "2" → -' in done.stderr
    assert trimtab("get", TASK, "-p", project, "-d", "development").exit_code == 0


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_unknown_fields_and_missing_files_have_the_texts_of_flytectl(
    trimtab: Trimtab, file: Path, verb: str
) -> None:
    file.write_text(file.read_text() + "bogus: 1\n")
    done = trimtab(verb, TASK, "--attrFile", str(file))
    assert done.stderr.splitlines()[0] == (
        'Error: error unmarshaling JSON: while decoding JSON: json: unknown field "bogus"'
    )
    file.unlink()
    done = trimtab(verb, TASK, "--attrFile", str(file))
    assert done.stderr.splitlines()[0] == f"Error: unable to read from {file} yaml file"


def test_an_unknown_project_is_found_before_anything_is_shown(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    file.write_text(file.read_text().replace(project, "nowhere"))
    done = trimtab("update", TASK, "--attrFile", str(file), "--force")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(
        "Error: update project nowhere domain development matchable attributes: could not fetch "
        "attributes: project 'nowhere' does not exist"
    )


def test_a_file_that_cannot_be_written_has_the_text_of_flytectl(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    get = ("get", TASK, "-p", project, "-d", "development", "--gen", "--attrFile")
    nowhere = file.parent / "none" / "file.yaml"
    assert trimtab(*get, str(nowhere)).stderr == (
        f"Error: error dumping in file due to open {nowhere}: no such file or directory\n"
    )
    assert trimtab(*get, "/dev/full", stdin="y\n").stderr == (
        "Error: error dumping in file due to write /dev/full: no space left on device\n"
    )
