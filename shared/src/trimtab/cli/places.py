"""Where a setting is kept, as flags, as a file's keys and in flytectl's messages."""

from collections.abc import Callable
from typing import Any

import click

from trimtab.cli.failures import USAGE, Failure
from trimtab.levels import Level, Scope


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds flytectl's flags for a place, and those of the levels that Flyte does not have."""
    for option in (
        click.option("--platform", is_flag=True, help="The whole installation."),
        click.option("--launch-plan", default="", help="A launch plan of the workflow."),
        click.option("-d", "--domain", default="", help="The domain."),
        click.option("-p", "--project", default="", help="The project."),
        click.argument("workflow", required=False, default=""),
    ):
        command = option(command)
    return command


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
