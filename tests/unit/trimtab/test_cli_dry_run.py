"""Every command that changes something on the server has a dry run, under two names."""

import click
import pytest

from trimtab.cli import reference
from trimtab.cli.main import cli

READS = {
    *("get", "explain", "history", "diff", "export", "effective", "watch", "describe", "audit"),
    *("token list", "token print", "dead list", "dead show", "namespaces diff", "form", "render"),
}
LOCAL = {
    *("up", "run", "asyncapi", "completion", "config", "version", "status", "templates", "doctor"),
}
"""Commands that do not change anything on a server."""

ENTRIES = [
    entry
    for entry in reference.entries(cli)
    if entry.words[0] not in READS | LOCAL and " ".join(entry.words) not in READS
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: " ".join(entry.words))
def test_a_command_that_changes_something_has_a_dry_run(entry: reference.CommandEntry) -> None:
    [option] = [
        option
        for option in entry.command.params
        if isinstance(option, click.Option) and option.name == "dry_run"
    ]
    assert option.opts == ["--dry-run", "--dryRun"]
