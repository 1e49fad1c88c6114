"""The commands that each registered kind adds, and the groups that hold them."""

import pytest
from click.testing import CliRunner

from trimtab import kinds
from trimtab.cli.main import cli
from trimtab.kinds import Kind


@pytest.mark.parametrize("verb", ["get", "update", "delete"])
@pytest.mark.parametrize("kind", kinds.registered().values(), ids=lambda kind: kind.name)
def test_every_kind_has_every_verb(kind: Kind, verb: str) -> None:
    done = CliRunner().invoke(cli, [verb, kind.noun, "--help"])
    assert done.exit_code == 0
    assert kind.summary in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "noun",
    ["task-resource-attributes", "execution-cluster-labels", "workflow-priorities", "execution"],
)
def test_flytectls_aliases_are_accepted(noun: str) -> None:
    assert CliRunner().invoke(cli, ["get", noun, "--help"]).exit_code == 0


def test_the_error_for_a_wrong_command_lists_the_commands() -> None:
    done = CliRunner().invoke(cli, ["descibe"])
    assert done.exit_code == 2
    assert "there are: " in done.stderr
    assert "delete" in done.stderr.partition("there are: ")[2]


def test_help_shows_every_command_in_one_section() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).stdout.partition("Options:")[2]
    found = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
    assert sorted(name for name in found if name in cli.commands) == sorted(cli.commands)


@pytest.mark.parametrize(
    "line",
    [
        "get projects {}",
        "get workflows -p {}",
        "effective -p shop -d development {}",
        "update project shop --label a={}",
        "execute flow -p shop -d development --env A={}",
    ],
)
def test_an_argument_that_is_not_utf8_is_refused(line: str) -> None:
    arguments = line.format(b"a\xff".decode(errors="surrogateescape")).split()
    done = CliRunner().invoke(cli, ["--server", "http://127.0.0.1:1", *arguments])
    assert (done.exit_code, r"\udcff' is not valid" in done.stderr) == (2, True), done.output
