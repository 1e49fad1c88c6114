"""A kind that only the server has works as an installed kind does."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from trimtab import kinds


@pytest.fixture
def file(trimtab: Trimtab, tmp_path: Path, project: str) -> Iterator[Path]:
    """Write an attribute file of the kind; delete its record afterwards."""
    path = tmp_path / "maintenance.yaml"
    path.write_text(
        f"project: {project}\nwindow: {{hours: [1, 2], zone: UTC}}\ncontacts: {{b: x, a: y}}\n"
    )
    yield path
    trimtab("delete", "maintenance", "-p", project)


def test_the_kind_is_not_installed_here() -> None:
    assert "maintenance" not in kinds.registered()


def test_it_is_listed_with_its_fields_and_levels(trimtab: Trimtab) -> None:
    [line] = [line for line in trimtab("get", "kinds").stdout.splitlines() if "maintenance" in line]
    assert "window, contacts, urgent" in line
    assert "domain, project" in line


def test_it_is_written_read_and_deleted_by_its_noun(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    done = trimtab("update", "maintenance", "--attrFile", str(file), "--force")
    assert '+Maintenance:\n+    contacts:\n+        a: "y"\n' in done.stdout
    got = trimtab("get", "maintenances", "-p", project)
    assert json.loads(got.stdout)["window"] == {"hours": [1, 2], "zone": "UTC"}
    assert got.stdout.index('"a"') < got.stdout.index('"b"')
    assert trimtab("delete", "maintenance", "-p", project).exit_code == 0
    assert trimtab("get", "maintenance", "-p", project).exit_code == 3


def test_its_table_has_a_row_for_each_field_of_a_group_and_entry_of_a_map(
    trimtab: Trimtab, file: Path, project: str
) -> None:
    trimtab("update", "maintenance", "--attrFile", str(file), "--force")
    table = trimtab("get", "maintenance", "-p", project, "-o", "table").stdout
    assert [line.split()[0] for line in table.splitlines()[1:]] == [
        "window.hours",
        "window.zone",
        "contacts.b",
        "contacts.a",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("windows: {}", "allowed: the fields contacts, urgent, window"),
        ("window: {zones: UTC}", "allowed: the fields window.hours, window.zone"),
        ("urgent: 5", "urgent: 5 is not valid"),
    ],
)
def test_its_fields_are_checked(
    trimtab: Trimtab, file: Path, project: str, fields: str, message: str
) -> None:
    file.write_text(f"project: {project}\n{fields}\n")
    done = trimtab("update", "maintenance", "--attrFile", str(file), "--force")
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


def test_its_levels_are_checked(trimtab: Trimtab, file: Path, project: str) -> None:
    file.write_text(f"project: {project}\ndomain: staging\nurgent: true\n")
    done = trimtab("update", "maintenance", "--attrFile", str(file), "--force")
    assert "allowed: maintenance at domain, project" in done.stderr


def test_its_help_may_follow_the_options_that_select_the_server(
    trimtab: Trimtab, data: Path
) -> None:
    done = trimtab("get", "maintenance", "--data", str(data), "--help", env={"TRIMTAB_DATA": ""})
    assert "Maintenance windows" in done.stdout


def test_the_error_without_a_server_has_the_reason_why_a_kind_is_unknown(
    trimtab: Trimtab, tmp_path: Path
) -> None:
    done = trimtab("get", "maintenance", "--data", str(tmp_path))
    assert done.exit_code == 7
    assert "the kinds of the server cannot be listed: no Trimtab runs on" in done.stderr
