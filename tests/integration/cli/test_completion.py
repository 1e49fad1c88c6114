"""Completion in shells."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Trimtab
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


def _completed(
    trimtab: Trimtab, line: str, environment: Mapping[str, str | None] | None = None
) -> set[str]:
    words = {"COMP_WORDS": f"trimtab {line}", "COMP_CWORD": str(len(line.split()))}
    shell = {"_TRIMTAB_COMPLETE": "bash_complete", **words, **(environment or {})}
    return {row.partition(",")[2] for row in trimtab(env=shell).stdout.splitlines() if row}


def test_the_script_completes_in_bash(trimtab: Trimtab) -> None:
    script = trimtab("completion", "bash").stdout
    program = f"{script}\nCOMP_WORDS=(trimtab upd)\nCOMP_CWORD=1\n_trimtab_completion {TRIMTAB}\n"
    done = subprocess.run(
        ["bash"], input=program + 'echo "$COMPREPLY"', text=True, capture_output=True, check=True
    )
    assert done.stdout == "update\n"
