"""Where a setting is kept, as flags, as a file's keys and in flytectl's messages."""

from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource

from trimtab.cli.completion import names_of
from trimtab.cli.configuration import configured
from trimtab.cli.failures import USAGE, Failure
from trimtab.levels import Level, Scope

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds flytectl's flags for a place, and those of the levels that Flyte does not have."""
    for option in (
        click.option("--platform", is_flag=True, help="The whole installation."),
        click.option("--launch-plan", default="", help="A launch plan of the workflow."),
        click.option("-w", "--workflow", "named_workflow", default="", help="As WORKFLOW."),
        domain_option(),
        project_option(),
        click.argument("workflow", required=False, default=""),
    ):
        command = option(command)
    return command


def project_option(help: str = "The project.", *, required: bool = False) -> Decorator:
    """Adds ``-p``."""
    return _place_option("-p", "project", help, required)


def domain_option(help: str = "The domain.", *, required: bool = False) -> Decorator:
    """Adds ``-d``."""
    return _place_option("-d", "domain", help, required)


def _place_option(short: str, name: str, help: str, required: bool) -> Decorator:
    variable = f"TRIMTAB_{name.upper()}"
    return click.option(
        short,
        f"--{name}",
        required=required,
        default=lambda: getattr(configured(), name) or (None if required else ""),
        show_default=False,
        envvar=variable,
        help=f"{help}  [env: {variable}]",
        shell_complete=names_of(f"{name}s"),
    )


def said(places: Mapping[str, Any], *, file: bool = False) -> dict[str, Any]:
    """What `scope_of` takes, of what `place_options` gave.

    A file says itself where it belongs, and the platform is nowhere else: beside them only what
    stands on the command line counts, and not what is usual.
    """
    context = click.get_current_context()
    given = dict(places)
    named = given.pop("named_workflow", "")
    if named and given["workflow"] not in ("", named):
        raise Failure(f"--workflow is {named!r} beside {given['workflow']!r}", USAGE)
    given["workflow"] = given["workflow"] or named
    if file or given["platform"]:
        for name in ("project", "domain"):
            if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                given[name] = ""
    return given


def scope_of(
    *,
    project: str = "",
    domain: str = "",
    workflow: str = "",
    launch_plan: str = "",
    platform: bool = False,
    nothing: str,
) -> Scope:
    """The scope that is named; with neither a name nor ``platform`` the error ``nothing``."""
    named = project or domain or workflow or launch_plan
    if platform and named:
        raise Failure(f"--platform is the whole installation: it takes no {named!r}", USAGE)
    if not platform and not named:
        raise Failure(f"{nothing}; --platform stands for the whole installation", USAGE)
    if launch_plan and not workflow:
        raise Failure(f"workflow is required: the one of launch plan {launch_plan!r}", USAGE)
    for name, value in (("project", project), ("domain", domain)):
        if workflow and not value:
            raise Failure(f"{name} is required: the one of workflow {workflow!r}", USAGE)
    return Scope(domain, project, workflow, launch_plan)


def target_of(scope: Scope) -> str:
    """As flytectl ends its messages: ``shop project and domain staging and workflow w``."""
    match scope.level:
        case Level.PLATFORM:
            return "the platform"
        case Level.DOMAIN:
            return f"domain {scope.domain}"
        case _:
            named = {name: value for name, value in _parts(scope).items() if name != "project"}
            more = "".join(f" and {name} {value}" for name, value in named.items())
            return f"{scope.project} project{more}"


def in_words(scope: Scope) -> str:
    """As flytectl begins its errors: ``project shop domain staging workflow w``."""
    return " ".join(f"{name} {value}" for name, value in _parts(scope).items()) or "platform"


def _parts(scope: Scope) -> dict[str, str]:
    parts = {
        "project": scope.project,
        "domain": scope.domain,
        "workflow": scope.workflow,
        "launch plan": scope.launch_plan,
    }
    return {name: value for name, value in parts.items() if value}
