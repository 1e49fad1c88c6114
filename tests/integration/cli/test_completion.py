"""Completion in shells."""

import subprocess

import pytest

from tests.integration.cli.conftest import Trimtab
from tests.integration.embedded.running import TRIMTAB


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
    words = line.split()
    environment = {
        "_TRIMTAB_COMPLETE": "bash_complete",
        "COMP_WORDS": f"trimtab {line}",
        "COMP_CWORD": str(len(words)),
    }
    lines = trimtab(env=environment).stdout.splitlines()
    assert {line.partition(",")[2] for line in lines} == completed


def test_the_script_completes_in_bash(trimtab: Trimtab) -> None:
    script = trimtab("completion", "bash").stdout
    program = f"{script}\nCOMP_WORDS=(trimtab upd)\nCOMP_CWORD=1\n_trimtab_completion {TRIMTAB}\n"
    done = subprocess.run(
        ["bash"], input=program + 'echo "$COMPREPLY"', text=True, capture_output=True, check=True
    )
    assert done.stdout == "update\n"
