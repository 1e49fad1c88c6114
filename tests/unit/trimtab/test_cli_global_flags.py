"""Flags before and after the words of a command."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from trimtab.cli.groups import CommandGroup, DefaultCommandGroup, SectionedGroup
from trimtab.cli.main import cli
from trimtab.cli.scopes import scope_options, scope_parts
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import output_option

FILE = """\
server: https://one.example
token_file: one
project: of-file
current_context: second
contexts:
  second: {server: "https://two.example", token_file: two, domain: of-second}
  third: {server: "https://three.example"}
  named: {project: of-named}
"""


@click.command("settings")
@scope_options
@output_option()
@with_server
def settings(server: Server, output: str, **options: Any) -> None:
    """Print the selected values."""
    parts = scope_parts(options)
    token = server.token and server.token.text
    click.echo(f"{server.url} {token} {parts['project']} {parts['domain']} {output}")


def _tree() -> SectionedGroup:
    root = SectionedGroup("root")
    get = CommandGroup("get")
    get.add_command(settings)
    get.add_command(click.Command("nothing", callback=lambda: None))
    root.add_section("All", get, DefaultCommandGroup("show", [settings], default="settings"))
    return root


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str | None]:
    """Write a configuration with three contexts."""
    (tmp_path / "config.yaml").write_text(FILE)
    (tmp_path / "one").write_text("token-one\n")
    (tmp_path / "two").write_text("token-two\n")
    return {"TRIMTAB_CONFIG": str(tmp_path / "config.yaml")}


def run(line: str, environment: dict[str, str | None] | None = None) -> Result:
    return CliRunner(env={"TRIMTAB_CONFIG": "/dev/null", **(environment or {})}).invoke(
        _tree(), line.split()
    )


@pytest.mark.parametrize(
    "line",
    [
        "-p shop -d staging --server http://here -o json get settings",
        "-p shop get -d staging --server http://here settings -o json",
        "-p other get -p another -d staging settings -p shop --server http://here -o json",
        "get settings --project=shop -d staging --server=http://here --output json",
        "-p shop -d staging -o json show flow --server http://here",
        "show -p shop -d staging settings --server http://here -o json",
    ],
)
def test_a_flag_may_be_before_or_after_each_word_and_the_last_value_wins(line: str) -> None:
    assert run(line).stdout == "http://here None shop staging json\n"


def test_an_empty_value_is_passed_on(environment: dict[str, str | None]) -> None:
    assert (
        " None  of-second " in run("--project= get settings --server http://x", environment).stdout
    )


def test_a_flag_that_the_command_does_not_have_is_an_error() -> None:
    done = run("-p shop get nothing")
    assert (done.exit_code, "`root get nothing` has no -p/--project" in done.stderr) == (2, True)


def test_a_flag_before_the_command_counts_as_given_by_the_user() -> None:
    done = run("-p shop get settings --platform", {"TRIMTAB_DOMAIN": "staging"})
    assert done.stdout.split()[2:] == ["shop", "table"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("get settings", "https://two.example token-two of-file of-second table"),
        ("--context third get settings", "https://three.example None of-file  table"),
        ("get settings --context third", "https://three.example None of-file  table"),
        ("--context third get settings --context named", "https://one.example token-one of-named"),
        (
            "--context second get settings -d staging",
            "https://two.example token-two of-file staging",
        ),
        ("--server https://one.example get settings", "https://one.example None of-file"),
        ("--context second get settings --data d", "None None of-file of-second table"),
    ],
)
def test_a_context_sets_defaults(
    environment: dict[str, str | None], line: str, expected: str
) -> None:
    assert run(line, environment).stdout.startswith(expected)


def test_a_context_given_by_flag_takes_precedence_over_variables_of_another_server(
    environment: dict[str, str | None],
) -> None:
    variables: dict[str, str | None] = {
        "TRIMTAB_SERVER": "https://elsewhere",
        "TRIMTAB_TOKEN": "t",
        "TRIMTAB_DATA": "d",
    }
    flagged = run("--context second get settings", environment | variables)
    assert flagged.stdout.startswith("https://two.example token-two ")
    by_variable = run("get settings", environment | variables | {"TRIMTAB_CONTEXT": "second"})
    assert by_variable.stdout.startswith("https://elsewhere t ")


def test_the_error_for_an_unknown_context_has_the_similar_names(
    environment: dict[str, str | None],
) -> None:
    done = run("--context secnod get settings", environment)
    assert done.exit_code == 3
    assert "context 'secnod' does not exist; did you mean 'second'; there are: " in done.stderr


def test_every_command_names_the_global_flags_alike() -> None:
    flags = {parameter.name: parameter.opts for parameter in cli.params}
    for command in _leaves(cli):
        for parameter in command.params:
            if parameter.name in flags and isinstance(parameter, click.Option):
                assert parameter.opts == flags[parameter.name], command.name


@pytest.mark.parametrize("words", [[], ["get"], ["token"], ["get", "domains"]])
def test_short_help_is_help(words: list[str]) -> None:
    short, long = (CliRunner().invoke(cli, [*words, flag]).stdout for flag in ("-h", "--help"))
    assert short == long
    assert "Usage: " in short


def test_no_list_of_commands_is_cut() -> None:
    for group in (cli, *_groups(cli)):
        context = click.Context(group, info_name="trimtab", terminal_width=60)
        assert "..." not in group.get_help(context).partition("\n\n")[2]


def _groups(group: click.Group) -> Iterator[click.Group]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield command
            yield from _groups(command)


def _leaves(group: click.Group) -> Iterator[click.Command]:
    for each in (group, *_groups(group)):
        yield from (one for one in each.commands.values() if not isinstance(one, click.Group))
