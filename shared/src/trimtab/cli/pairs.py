"""Options of the form ``NAME=VALUE``, which can be given several times."""

from collections.abc import Iterator, Sequence

import click

from trimtab.cli.inputs import parse_json
from trimtab.errors import Invalid
from trimtab.models import parse_model
from trimtab.workflows.graphs.node_overrides import NodeOverrides

input_option = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input: the text itself where a string is declared, and JSON for any other type.",
)
override_option = click.option(
    "--override", "overrides", multiple=True, metavar="HOOK=JSON", help="Overrides for a hook."
)


def pairs(option: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Split each NAME=VALUE. Raises `Invalid` with the option, also where a name is repeated."""
    names = set()
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Invalid(f"--{option}", text, "NAME=VALUE")
        if name in names:
            raise Invalid(f"--{option}", text, f"{name} once")
        names.add(name)
        yield name, value


def read_overrides(texts: Sequence[str]) -> dict[str, NodeOverrides]:
    """Return overrides by name of hook, each given as JSON. Raises `Invalid`."""
    return {hook: _node_overrides(hook, text) for hook, text in pairs("override", texts)}


def _node_overrides(hook: str, text: str) -> NodeOverrides:
    path = f"override {hook}"
    content = parse_json(path, text)
    if not isinstance(content, dict):
        raise Invalid(path, content, "an object: " + ", ".join(NodeOverrides.model_fields))
    try:
        return parse_model(NodeOverrides, content)
    except Invalid as error:
        raise Invalid(f"{path}: {error.path}", error.value, error.allowed) from error
