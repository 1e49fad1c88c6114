"""Projects with flytectl's flags and files, diff and messages: ``trimtab create project``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from trimtab import yaml_texts
from trimtab.api.entities import DomainBody, ProjectBody
from trimtab.cli.attribute_files import source_name
from trimtab.cli.changes import dry_run_text
from trimtab.cli.commands import Failure, dry_run_option, error_prefix, example
from trimtab.cli.diffs import unified_project_diff
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import confirm, show, warn
from trimtab.client import Client
from trimtab.errors import Code, Invalid, Rejected, UnknownField
from trimtab.models import parse_model

F = TypeVar("F", bound=Callable[..., Any])

_FIELDS = {"id": "name", "name": "display_name", "description": "description", "labels": "labels"}
"""Our names of the fields of flytectl."""
_IGNORED = frozenset({"domains", "state"})
"""Further keys of a file: flytectl writes them, and does not read them either."""

create = CommandGroup("create", member="object type", help="Create a project, as flytectl does.")


def project_options(command: F) -> F:
    """Add flytectl's flags for a project; the command receives them by the names of `given`."""
    for option in (
        click.option(
            "--file", type=click.Path(path_type=Path), help="A file with flytectl's fields of it."
        ),
        click.option("--labels", metavar="KEY=VALUE,…", help="All labels of the project."),
        click.option("--description", help="Description of the project."),
        click.option("--name", "--display-name", "display_name", help="The name for people."),
        click.option("-p", "--project", default="", help="Same as --id."),
        click.option("--id", default="", help="The project, which Trimtab calls its name."),
    ):
        command = option(command)
    return command


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `ProjectBody` that the file or the flags of `project_options` set.

    A flag takes precedence over the file. Raises `Failure` without the name of the project, with
    flytectl's message, and as `_read`.
    """
    if options["id"] and options["project"]:
        raise Failure("both project and id are passed", Code.INVALID)
    fields = {} if options["file"] is None else _read(options["file"])
    for key in ("display_name", "description"):
        if options[key] is not None:
            fields[key] = options[key]
    if options["labels"] is not None:
        fields["labels"] = dict(map(parse_label, options["labels"].split(",")))
    if name := options["id"] or options["project"]:
        fields["name"] = name
    if not fields.get("name"):
        raise Failure("project id wasn't passed", Code.INVALID)
    return fields


def parse_label(text: str) -> tuple[str, str]:
    """Return key and value of ``KEY=VALUE``. Raises `Failure`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise Failure(f"label {text!r} is not KEY=VALUE", Code.INVALID)
    return key, value


@create.command("project", epilog=example("trimtab create project --id mall --name Mall"))
@project_options
@dry_run_option
@with_server
def create_project(server: Server, dry_run: bool, **options: Any) -> None:
    """Register a project, so that it can have settings and executions."""
    fields = given(options)
    if not fields.get("display_name"):
        raise Failure("project name is a required flag", Code.INVALID)
    body = parse_model(ProjectBody, fields)
    if dry_run:
        show(dry_run_text(server.call(lambda client: client.projects.dry_create(body))))
        return
    server.call(lambda client: client.projects.create(body))
    show("project created successfully.")


def update(server: Server, fields: Mapping[str, Any], *, dry_run: bool, force: bool) -> None:
    """Show the changes of a project, and make them after a prompt or with ``force``."""
    name = fields["name"]
    with error_prefix(f"update project {name}: could not fetch project: "):
        before, domains = server.call(lambda client: _fetch(client, name))
    after = parse_model(ProjectBody, {**before.model_dump(), **fields})
    difference = unified_project_diff(_content(before, domains), _content(after, domains))
    if not difference:
        show("No changes detected. Skipping the update.")
        return
    show(f"The following changes are to be applied.\n{difference}\n")
    if not (dry_run or force or confirm("Continue? [y/n]: ")):
        raise Failure("update aborted by user")
    changes = _merge_patch(before, after)
    with error_prefix(f"Project {name} failed to update due to "):
        if dry_run:
            server.call(lambda client: client.projects.dry_patch(name, changes))
        else:
            server.call(lambda client: client.projects.patch(name, changes, version=before.version))
    show("skipping UpdateProject request (dryRun)" if dry_run else f"project {name} updated")


async def _fetch(client: Client, name: str) -> tuple[ProjectBody, Sequence[DomainBody]]:
    return await client.projects.get(name), await client.domains.list()


def _content(project: ProjectBody, domains: Sequence[DomainBody]) -> dict[str, Any]:
    """Return a project as flytectl shows it."""
    fields = {
        "description": project.description,
        "domains": [{"id": domain.name, "name": domain.name} for domain in domains],
        "id": project.name,
        "labels": {"values": dict(project.labels)} if project.labels else {},
        "name": project.display_name,
        "state": int(project.state == "archived"),
    }
    return {key: value for key, value in fields.items() if value or key == "labels"}


def _merge_patch(before: ProjectBody, after: ProjectBody) -> dict[str, Any]:
    """Return the changed fields; a label that is removed is null."""
    old, new = before.model_dump(), after.model_dump()
    changes = {key: value for key, value in new.items() if value != old[key]}
    if "labels" in changes:
        changes["labels"] = {**dict.fromkeys(old["labels"]), **changes["labels"]}
    return changes


def _read(path: Path) -> dict[str, Any]:
    """Return the fields of `ProjectBody` that a file sets. Raises `Rejected` and `Invalid`."""
    name = source_name(path)
    try:
        content = yaml_texts.parse_one(name, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        # The text of Go, which writes the reason in small letters.
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Rejected(f"open {name}: {(reason or str(error)).lower()}") from error
    if not isinstance(content, dict):
        raise Invalid(name, content, "a mapping: id, name, description and labels")
    for key in sorted(content.keys() - _FIELDS.keys() - _IGNORED):
        raise UnknownField(f"{name}: {key}", content[key], f"only {', '.join(_FIELDS)}")
    for key in sorted(_IGNORED & content.keys()):
        warn(f"{name}: {key} is ignored, as by flytectl")
    fields = {_FIELDS[key]: value for key, value in content.items() if key in _FIELDS}
    if "labels" in fields:
        fields["labels"] = _labels(name, fields["labels"])
    return fields


def _labels(name: str, content: Any) -> Any:
    """Return the labels, which a file has under ``values``. Raises `Invalid`."""
    values = content.get("values", {}) if isinstance(content, dict) else content
    if not isinstance(values, dict) or content.keys() - {"values"}:
        raise Invalid(f"{name}: labels", content, "a mapping with the labels under `values`")
    return values
