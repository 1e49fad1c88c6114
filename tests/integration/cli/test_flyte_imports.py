"""`trimtab import flyte` against a Flyte in memory; tests/flyte imports from another Trimtab."""

import json
from pathlib import Path

from flyteidl.admin.matchable_resource_pb2 import MatchableAttributesConfiguration
from flyteidl.admin.project_pb2 import Project

from tests.fake_flyte import fake_flyte
from tests.integration.cli.conftest import Trimtab


def test_values_of_a_configuration_file_become_records(trimtab: Trimtab, tmp_path: Path) -> None:
    file = tmp_path / "flyteadmin.yaml"
    file.write_text("queues:\n  workflowConfigs:\n  - {domain: staging, tags: [gpu]}\n")
    flags = ("--configuration", str(file), "--dry-run", "-o", "json")
    with fake_flyte() as flyte:
        done = trimtab("import", "flyte", "--endpoint", flyte.endpoint, "--insecure", *flags)
    planned = [each["document"] for each in json.loads(done.stdout)["documents"]]
    [queue] = [body for body in planned if body["kind"] == "execution_queue"]
    assert (queue["domain"], queue["document"]) == ("staging", {"tags": ["gpu"]})


def test_a_configuration_file_is_a_mapping(trimtab: Trimtab, tmp_path: Path) -> None:
    file = tmp_path / "flyteadmin.yaml"
    file.write_text("- queues\n")
    flags = ("--configuration", str(file), "--dry-run")
    done = trimtab("import", "flyte", "--endpoint", "flyte:81", "--insecure", *flags)
    assert done.exit_code == 2
    assert "the sections of flyteadmin's configuration" in done.stderr


def test_a_name_with_a_line_break_begins_no_line(trimtab: Trimtab) -> None:
    with fake_flyte() as flyte:
        flyte.projects = [Project(id="shop")]
        stored = MatchableAttributesConfiguration(
            project="shop", domain="staging", workflow="pay\nimported 3 documents"
        )
        stored.attributes.task_resource_attributes.limits.cpu = "1"
        flyte.rows[0] = [stored]
        flags = ("--endpoint", flyte.endpoint, "--insecure", "--dry-run")
        lines = trimtab("import", "flyte", *flags).stdout.splitlines()
    assert not [line for line in lines if line.startswith("imported")]
    assert [line for line in lines if "pay\\nimported" in line]
