"""Scopes on the command line: their flags, their keys in files, and flytectl's texts for them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from trimtab.api.settings import ScopeBody
from trimtab.cli.commands import Failure
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import configured
from trimtab.errors import Code, Invalid
from trimtab.levels import Level, Scope

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

SCOPE_KEYS = ("project", "domain", "workflow", "launch_plan")
"""The keys of a file that name its scope."""


def scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add flytectl's flags for a scope, and flags for the levels that flytectl does not have."""
    for option in (
        click.option("--platform", is_flag=True, help="Select the platform level."),
        click.option(
            "--launch-plan",
            default="",
            help="A launch plan of the workflow.",
            shell_complete=complete_names("launch plans"),
        ),
        click.option(
            "-w",
            "--workflow",
            "workflow_flag",
            default="",
            help="Same as the argument WORKFLOW.",
            shell_complete=complete_names("workflows"),
        ),
        domain_option(),
        project_option(),
        click.argument(
            "workflow",
            required=False,
            default="",
            shell_complete=complete_names("workflows"),
        ),
    ):
        command = option(command)
    return command


def project_option(help: str = "The project.", *, required: bool = False) -> Decorator:
    """Add ``-p``."""
    return _part_option("-p", "project", help, required)


def domain_option(help: str = "The domain.", *, required: bool = False) -> Decorator:
    """Add ``-d``."""
    return _part_option("-d", "domain", help, required)


def _check_given(context: click.Context, option: click.Parameter, value: str | None) -> str:
    # click takes the absence of a default from its function for a value.
    if not value:
        raise click.MissingParameter(ctx=context, param=option)
    return value


def _part_option(short: str, name: str, help: str, required: bool) -> Decorator:
    variable = f"TRIMTAB_{name.upper()}"
    return click.option(
        short,
        f"--{name}",
        required=required,
        callback=_check_given if required else None,
        default=lambda: getattr(configured(), name) or (None if required else ""),
        show_default=False,
        envvar=variable,
        help=f"{help}  [env: {variable}]",
        shell_complete=complete_names(f"{name}s"),
    )


def selected_scope(options: Mapping[str, Any]) -> Scope:
    """Return the scope that the options of `scope_options` select. Raises `Failure`."""
    return parse_scope(**scope_parts(options), missing="project and domain are required parameters")


def scope_parts(options: Mapping[str, Any], *, has_file: bool = False) -> dict[str, Any]:
    """Return the arguments of `parse_scope` from the options of `scope_options`.

    With a file, which names its own scope, and with ``--platform``, a project or domain counts only
    from the command line: defaults from the environment and the configuration file are ignored.
    """
    context = click.get_current_context()
    parts = dict(options)
    workflow = parts.pop("workflow_flag", "")
    if workflow and parts["workflow"] not in ("", workflow):
        raise Failure(
            f"--workflow is {workflow!r}, but the argument WORKFLOW is {parts['workflow']!r}",
            Code.INVALID,
        )
    parts["workflow"] = parts["workflow"] or workflow
    if has_file or parts["platform"]:
        for name in ("project", "domain"):
            if context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
                parts[name] = ""
    return parts


def parse_scope(
    *,
    project: str = "",
    domain: str = "",
    workflow: str = "",
    launch_plan: str = "",
    platform: bool = False,
    missing: str,
) -> Scope:
    """Return the scope of the parts.

    Raises `Failure` where parts are missing or contradict each other; with neither a part nor
    ``platform``, the message begins with ``missing``. The first line of a message is flytectl's.
    """
    part = project or domain or workflow or launch_plan
    if platform and part:
        raise Failure(f"--platform selects the whole platform and takes no {part!r}", Code.INVALID)
    if not platform and not part:
        raise Failure(f"{missing}\n--platform selects the whole platform", Code.INVALID)
    if launch_plan and not workflow:
        raise Failure(
            f"workflow is required\nlaunch plan {launch_plan!r} belongs to a workflow", Code.INVALID
        )
    for name, value in (("project", project), ("domain", domain)):
        if workflow and not value:
            text = f"{name} is required\nworkflow {workflow!r} belongs to a {name}"
            raise Failure(text, Code.INVALID)
    return Scope(domain, project, workflow, launch_plan)


def domain_wide_option(command: F) -> F:
    """Add ``--domain-wide``, which `file_scope_parts` needs for an empty project."""
    return click.option(
        "--domain-wide",
        is_flag=True,
        help="Accept a file with a domain and an empty project, for the whole domain.",
    )(command)


def file_scope_parts(
    source: str, content: Mapping[str, Any], *, domain_wide: bool
) -> dict[str, str]:
    """Return the parts that a document sets, by `SCOPE_KEYS`.

    Raises `Invalid`, whose message begins with the source of the document, also for a part that is
    empty, perhaps by mistake, so that the document would apply to more than its author means.
    """
    empty = {name for name in SCOPE_KEYS if name in content and content[name] in (None, "")}
    parts = {
        name: _part(source, name, content[name])
        for name in SCOPE_KEYS
        if name in content and name not in empty
    }
    for name in sorted(empty):
        # Files of flytectl for a whole project have this text.
        is_flytes = name == "domain" and content[name] == ""
        is_allowed = is_flytes or (name == "project" and domain_wide)
        if not is_allowed:
            raise Invalid(f"{source}: {name}", content[name], _INSTEAD_OF_EMPTY[name])
    return parts


_INSTEAD_OF_EMPTY = {
    "project": "a project; --domain-wide accepts an empty one, for the whole domain",
    "domain": 'a domain; for all domains of the project, write domain: "" or leave the key out',
    "workflow": "a workflow; for all workflows, leave the key out",
    "launch_plan": "a launch plan; for all launch plans, leave the key out",
}


def _part(source: str, name: str, value: object) -> str:
    # As in flytectl, a project that is called 12 needs no quotes.
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise Invalid(f"{source}: {name}", value, "a name")


def scope_from_body(body: ScopeBody) -> Scope:
    return Scope(
        **body.model_dump(exclude={"level"}), settings_file=body.level == Level.SETTINGS.label
    )


def success_text(scope: Scope) -> str:
    """Return the end of flytectl's success messages: ``shop project and domain staging``."""
    match scope.level:
        case Level.PLATFORM:
            return "the platform"
        case Level.DOMAIN:
            return f"domain {scope.domain}"
        case _:
            narrower = {name: part for name, part in _named(scope).items() if name != "project"}
            more = "".join(f" and {name} {part}" for name, part in narrower.items())
            return f"{scope.project} project{more}"


def error_text(scope: Scope) -> str:
    """Return the scope as in flytectl's error messages: ``project shop domain staging``."""
    return " ".join(f"{name} {part}" for name, part in _named(scope).items()) or "platform"


def _named(scope: Scope) -> dict[str, str]:
    parts = {
        "project": scope.project,
        "domain": scope.domain,
        "workflow": scope.workflow,
        "launch plan": scope.launch_plan,
    }
    return {name: part for name, part in parts.items() if part}
