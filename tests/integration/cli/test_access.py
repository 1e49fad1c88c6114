"""API tokens and the audit trail."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Trimtab

TASK = "task-resource-attribute"


@pytest.fixture
def secret(trimtab: Trimtab, project: str) -> str:
    """Create a token with the name of the project, which is editor of it; return its secret."""
    done = trimtab("token", "create", project, "--grant", f"editor,project={project}")
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def find_token(trimtab: Trimtab, name: str) -> dict[str, Any]:
    tokens = json.loads(trimtab("token", "list", "-o", "json").stdout)
    [found] = [token for token in tokens if token["name"] == name]
    return dict(found)


def write(trimtab: Trimtab, tmp_path: Path, project: str, secret: str) -> int:
    """Write limits of the project with a token, and return the exit code."""
    file = tmp_path / "limits.yaml"
    file.write_text(f"project: {project}\nlimits: {{cpu: '1'}}\n")
    command = ("update", TASK, "--attrFile", str(file), "--force")
    return trimtab(*command, env={"TRIMTAB_TOKEN": secret}).exit_code


def test_a_token_permits_its_grants_and_names_the_author_of_changes(
    trimtab: Trimtab, project: str, secret: str, tmp_path: Path
) -> None:
    assert write(trimtab, tmp_path, project, secret) == 0
    assert write(trimtab, tmp_path, "flytesnacks", secret) == 6
    [change] = json.loads(trimtab("history", TASK, "-p", project, "-o", "json").stdout)
    assert change["actor"] == project


def test_stdout_is_only_the_secret(trimtab: Trimtab, project: str) -> None:
    grants = (
        "--grant",
        f"viewer,project={project},domain=staging",
        "--grant",
        f"editor,kind={TASK}",
    )
    done = trimtab("token", "create", f"{project}-ci", *grants, "--expires", "90d")
    assert done.stdout.startswith("trimtab_")
    assert done.stdout.count("\n") == 1
    assert done.stderr == f"Created token {project}-ci; its secret is shown only once:\n"
    found = find_token(trimtab, f"{project}-ci")
    assert [grant["kinds"] for grant in found["grants"]] == [[], ["task_resource"]]
    shown = trimtab("token", "list").stdout
    assert f"viewer,domain=staging,project={project}, editor,kind=task_resource" in shown
    assert done.stdout.strip() not in shown


def test_old_secrets_are_accepted_until_a_rotation_without_grace(
    trimtab: Trimtab, project: str, secret: str, tmp_path: Path
) -> None:
    kept = trimtab("token", "rotate", project, "--grace", "1h").stdout.strip()
    assert [write(trimtab, tmp_path, project, each) for each in (secret, kept)] == [0, 0]
    new = trimtab("token", "rotate", project, "--grace", "0s", "-o", "json").stdout
    secrets = (secret, kept, json.loads(new)["secret"])
    assert [write(trimtab, tmp_path, project, each) for each in secrets] == [6, 6, 0]


def test_a_revoked_token_is_rejected_and_its_name_cannot_be_reused(
    trimtab: Trimtab, project: str, secret: str, tmp_path: Path
) -> None:
    assert trimtab("token", "revoke", project).stdout == f"Revoked token {project}\n"
    assert write(trimtab, tmp_path, project, secret) == 6
    lines = trimtab("token", "list").stdout.splitlines()
    assert ["revoked" in line for line in lines if line.startswith(f"{project} ")] == [True]
    assert trimtab("token", "create", project, "--grant", "viewer").exit_code == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("create", "never"), 2, "--grant"),
        (("create", "never", "--grant", "owner"), 2, "viewer"),
        (("create", "never", "--grant", "editor,shop"), 2, "domain=, project="),
        (("create", "never", "--grant", "editor,project=a,project=b"), 2, "domain=, project="),
        (("create", "never", "--grant", "editor,workflow=w"), 2, "workflow"),
        (("create", "never", "--grant", "editor,project=nowhere"), 3, "nowhere"),
        (("create", "never", "--grant", "editor,kind=nothing"), 3, "task-resource-attribute"),
        (("create", "never", "--grant", "viewer", "--expires", "soon"), 2, "such as 90d"),
        (("create", "never", "--grant", "viewer", "--expires", "2020-01-01"), 2, "next ten years"),
        (("rotate", "unknown"), 3, "unknown"),
        (("revoke", "unknown"), 3, "unknown"),
    ],
)
def test_wrong_arguments_are_named_and_create_no_token(
    trimtab: Trimtab, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = trimtab("token", *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert message in done.stderr
    assert '"never"' not in trimtab("token", "list", "-o", "json").stdout


def test_the_audit_trail_lists_refused_calls_with_caller_and_reason(
    trimtab: Trimtab, project: str, secret: str, tmp_path: Path
) -> None:
    write(trimtab, tmp_path, "flytesnacks", secret)
    filters = ("--status", "403", "--caller", project, "--client", "127.0.0.1", "--since", "1h")
    [entry] = json.loads(trimtab("audit", *filters, "-o", "json").stdout)
    assert (entry["method"], entry["scope"]) == ("GET", "project flytesnacks")
    assert f'User "{project}" is not a viewer' in trimtab("audit", *filters).stdout
    for other in (("--status", "401"), ("--client", "10.0.0.1"), ("--since", "2999-01-01")):
        assert trimtab("audit", *filters, *other).stderr == "there are none\n"
    assert trimtab("audit", env={"TRIMTAB_TOKEN": secret}).exit_code == 6
