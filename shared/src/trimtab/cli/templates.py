"""``trimtab templates``: templates of namespaces, checked and rendered without a server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from trimtab import yaml_texts
from trimtab.cli import attribute_files, escaping
from trimtab.cli.commands import Failure, example
from trimtab.cli.groups import CommandGroup
from trimtab.cli.scopes import domain_option, project_option
from trimtab.cli.terminal import progress, show, show_error
from trimtab.errors import Code, Invalid
from trimtab.kinds import cluster_resource
from trimtab.levels import Scope
from trimtab.models import parse_model
from trimtab.settings import namespaces
from trimtab.templates.configuration import ClusterResources
from trimtab.templates.dumping import dump
from trimtab.templates.files import inspect_templates, read_templates
from trimtab.templates.linting import find_problems
from trimtab.templates.rendering import render
from trimtab.templates.scopes import in_namespace

F = TypeVar("F", bound=Callable[..., Any])

_BLOCK = "cluster_resources"

templates = CommandGroup(
    "templates", help="Check and render the templates of namespaces, without a server."
)


@dataclass
class _Inputs:
    """The directories of templates, and the values of files and flags."""

    directories: Sequence[Path]
    attributes: dict[str, str] = field(default_factory=dict)
    block: ClusterResources = field(default_factory=ClusterResources)

    @classmethod
    def read(
        cls, directories: Sequence[Path], files: Sequence[Path], settings: Sequence[str]
    ) -> "_Inputs":
        """Read files, of which later ones win. Raises `Rejected`, and `Failure` without a
        directory.
        """
        inputs = cls(directories)
        for file in files:
            inputs._add(file)
        for setting in settings:
            name, sign, text = setting.partition("=")
            if not sign:
                raise Invalid("--set", setting, "name=value")
            inputs.attributes |= _attributes({"attributes": {name: text}})
        inputs.directories = inputs.directories or inputs.block.directories
        if not inputs.directories:
            raise Failure("no directory of templates: name one as DIR", Code.INVALID)
        return inputs

    def _add(self, file: Path) -> None:
        source = attribute_files.source_name(file)
        content = yaml_texts.parse_one(source, attribute_files.read_text(file))
        if isinstance(content, dict) and (_BLOCK in content or "attributes" not in content):
            try:
                self.block = parse_model(ClusterResources, content.get(_BLOCK, content))
            except Invalid as error:
                raise Invalid(f"{source}: {error.path}", error.value, error.allowed) from error
        else:
            found = attribute_files.of_content(source, content, domain_wide=True)
            self.attributes |= _attributes(found.document(cluster_resource.KIND, Scope()))


def _attributes(document: dict[str, Any]) -> dict[str, str]:
    """Return the attributes of a document. Raises `Invalid`."""
    value = cluster_resource.KIND.parse(document, Scope())
    attributes: dict[str, str] = cluster_resource.KIND.to_document(value).get("attributes", {})
    return attributes


def _input_options(command: F) -> F:
    for option in (
        click.option(
            "-f",
            "--values",
            "files",
            type=click.Path(path_type=Path),
            multiple=True,
            help="Attribute file of cluster_resource, or file with Flyte's block "
            "cluster_resources; can be repeated.",
        ),
        click.option(
            "--set", "settings", metavar="NAME=VALUE", multiple=True, help="An attribute."
        ),
        click.argument(
            "directories",
            metavar="[DIR]...",
            nargs=-1,
            type=click.Path(exists=True, file_okay=False, path_type=Path),
        ),
    ):
        command = option(command)
    return command


@templates.command("lint", epilog=example("trimtab templates lint templates"))
@_input_options
def lint(directories: Sequence[Path], files: Sequence[Path], settings: Sequence[str]) -> None:
    """Check the *.yaml files of each DIR, and list all errors.

    Without DIR, it is templatePath of the block in the file. Given values are checked against the
    variables that the templates declare; other placeholders may have any value.
    """
    inputs = _Inputs.read(directories, files, settings)
    sources, unreadable = inspect_templates(inputs.directories)
    found = find_problems(sources, inputs.attributes, inputs.block.read_values())
    for problem in (*unreadable, *found):
        show_error(str(problem))
    if unreadable or found:
        raise SystemExit(Code.REJECTED.exit_code)
    progress(f"{len(sources)} templates have no error")


@templates.command(
    "render", epilog=example("trimtab templates render templates -p shop -d development")
)
@_input_options
@project_option(required=True)
@domain_option(required=True)
@click.option(
    "--namespace-template",
    default=namespaces.DEFAULT,
    show_default=True,
    help="Template of namespaces' names.  [env: TRIMTAB_NAMESPACE_TEMPLATE]",
    envvar="TRIMTAB_NAMESPACE_TEMPLATE",
)
def render_templates(
    directories: Sequence[Path],
    files: Sequence[Path],
    settings: Sequence[str],
    project: str,
    domain: str,
    namespace_template: str,
) -> None:
    """Print the objects of a project and domain, as clusterres would apply them.

    Attributes are those of --set and of attribute files, whatever scope these have. Which kinds
    are cluster-scoped is known of Kubernetes' own alone.
    """
    inputs = _Inputs.read(directories, files, settings)
    try:
        template = namespaces.check_template(namespace_template)
    except ValueError as error:
        raise Invalid("--namespace-template", namespace_template, str(error)) from error
    targets: dict[str, namespaces.NamespaceTarget] = {}
    namespaces.add_targets(targets, template, project, [domain])
    [namespace] = targets
    sources = read_templates(inputs.directories).sources
    attributes = {Scope(domain, project): inputs.attributes}
    manifests = render(sources, namespace, attributes, inputs.block.read_values())
    texts = [dump(in_namespace(manifest, namespace)).decode() for manifest in manifests]
    show(escaping.escape_quoted("---\n".join(texts)), nl=False)
