"""Completion in shells."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
from tests.integration.cli.test_secrets import FAILURES, serving
from tests.integration.embedded.running import TRIMTAB
from trimtab.embedded.directory import Directory


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_supported_shell_has_a_script(trimtab: Trimtab, shell: str) -> None:
    script = trimtab("completion", shell).stdout
    assert "_TRIMTAB_COMPLETE" in script
    assert trimtab("completion", "tcsh").exit_code == 2


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("get ma", {"maintenance"}),
        ("get pro", {"projects"}),
        ("update plug", {"plugin-override"}),
        ("explain workflow-pr", {"workflow-priority"}),
        ("explain exec", {"execution", "execution-cluster-label", "execution-queue-attribute"}),
        ("get workflow-priority -d dev", {"development"}),
        ("get workflow-priority -d ''", {"development", "staging", "production"}),
    ],
)
def test_nouns_of_the_server_and_names_are_completed(
    trimtab: Trimtab, line: str, completed: set[str]
) -> None:
    assert _completed(trimtab, line) == completed


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("get -d dev", {"development"}),
        ("get workflow-priority --context here -d dev", {"development"}),
        ("--context he", {"here"}),
        ("get workflow-priority --context he", {"here"}),
        ("--context nowhere get workflow-priority -d dev", set()),
    ],
)
def test_names_are_completed_with_the_server_of_a_context(
    trimtab: Trimtab, data: Path, tmp_path: Path, line: str, completed: set[str]
) -> None:
    file = tmp_path / "config.yaml"
    token = Directory(data).token_file
    context = f"server: {Directory(data).url()}, token_file: {token}"
    file.write_text(f"current_context: here\ncontexts: {{here: {{{context}}}}}\n")
    environment = {"TRIMTAB_CONFIG": str(file), "TRIMTAB_DATA": None}
    assert _completed(trimtab, line, environment) == completed


WORKFLOW = """
from trimtab import task, workflow

@task
def price(n: int) -> int:
    return 3 * n

@workflow
def completed_pricing(n: int = 1):
    return price(n=n)
"""


def test_names_of_objects_are_completed(trimtab: Trimtab, project: str, tmp_path: Path) -> None:
    (tmp_path / "pricing.py").write_text(WORKFLOW)
    scope = ("-p", project, "-d", "development")
    assert trimtab("register", str(tmp_path / "pricing.py"), *scope).exit_code == 0
    assert trimtab("update", "pool", f"pool-{project}", "--quota", "1").exit_code == 0
    assert trimtab("update", "queue", f"queue-{project}", "--attribute", "a").exit_code == 0
    execution = trimtab("execute", "completed_pricing", *scope, "--no-wait").stdout.strip()
    where = " ".join(scope)
    for line, completed in {
        f"execute {where} comp": "completed_pricing",
        f"get workflows {where} comp": "completed_pricing",
        f"get workflow-priority {where} -w comp": "completed_pricing",
        f"describe pool pool-{project[:-1]}": f"pool-{project}",
        f"delete pool pool-{project}": f"pool-{project}",
        f"get queues queue-{project[:-1]}": f"queue-{project}",
        f"explain execution {execution[:6]}": execution,
        f"get executions {execution[:6]}": execution,
    }.items():
        assert completed in _completed(trimtab, line), line


@pytest.mark.parametrize("failure", ["401", "500", "HTML", "wrong JSON", "timeout"])
@pytest.mark.parametrize(
    "line", ["get a", "get else -p a", "get records -p a", "pool x -p a", "execute a"]
)
def test_no_failure_is_printed_into_the_line(trimtab: Trimtab, failure: str, line: str) -> None:
    with serving(FAILURES[failure]) as host:
        environment = {"TRIMTAB_SERVER": f"http://{host}", "TRIMTAB_DATA": None}
        done = trimtab(env={**_variables(line), **environment})
    assert (done.exit_code, done.stderr) == (0, "")


def _variables(line: str) -> dict[str, str]:
    words = {"COMP_WORDS": f"trimtab {line}", "COMP_CWORD": str(len(line.split()))}
    return {"_TRIMTAB_COMPLETE": "bash_complete", **words}


def _completed(
    trimtab: Trimtab, line: str, environment: Mapping[str, str | None] | None = None
) -> set[str]:
    shell = {**_variables(line), **(environment or {})}
    return {row.partition(",")[2] for row in trimtab(env=shell).stdout.splitlines() if row}


def test_the_script_completes_in_bash(trimtab: Trimtab) -> None:
    script = trimtab("completion", "bash").stdout
    program = f"{script}\nCOMP_WORDS=(trimtab upd)\nCOMP_CWORD=1\n_trimtab_completion {TRIMTAB}\n"
    done = subprocess.run(
        ["bash"], input=program + 'echo "$COMPREPLY"', text=True, capture_output=True, check=True
    )
    assert done.stdout == "update\n"
