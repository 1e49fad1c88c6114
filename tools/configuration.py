"""Make the reference of the configuration, `docs/configuration.md`, from the classes that read it.

``pytest --update-golden tests/unit/test_configuration_page.py`` writes the page after a change.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from trimtab.models import DnsLabel
from trimtab.runtime.config import ServiceConfig
from trimtab_admin.config import AdminConfig
from trimtab_clusterres.config import ClusterresConfig
from trimtab_propeller.config import PropellerConfig
from trimtab_resmgr.config import ResmgrConfig

SERVICES: Mapping[str, type[ServiceConfig]] = {
    "admin": AdminConfig,
    "clusterres": ClusterresConfig,
    "propeller": PropellerConfig,
    "resmgr": ResmgrConfig,
}

Schema = Mapping[str, Any]
"""JSON Schema, in which pydantic states the type, default, limits and docstring of each field."""

_INTRODUCTION = """\
# Configuration

<!-- Written by `pytest --update-golden tests/unit/test_configuration_page.py`, not by hand. -->

A service reads its configuration once, at its start. The first of these sources that has a value
wins:

1. the environment;
2. the directory that `TRIMTAB_SECRETS_DIR` names, with a file for each value: the file
   `trimtab_nats_password` contains the value of `TRIMTAB_NATS_PASSWORD`;
3. the YAML file that `TRIMTAB_SETTINGS_FILE` names. Its keys are the names of the variables in
   lower-case letters, without `trimtab_`: `nats_url`;
4. the default.

Lists, maps and blocks are JSON in the environment: `TRIMTAB_DOMAINS='["development"]'`. Maps and
blocks of several sources are merged key by key, lists are not. A key of a block also has a variable
of its own, in which two underscores separate the keys:
`TRIMTAB_RESOURCEMANAGER__REDIS__HOSTKEY`.

Services may share one file: each ignores the keys of the others, and variables that it does not
know. A key of the file that no service has is an error, at every depth. A key or value that is not
valid ends the start with a sentence that names it.

These variables are not fields of the configuration, so the file cannot contain them:

| variable | meaning |
|---|---|
| `TRIMTAB_SETTINGS_FILE` | The path of the YAML file. |
| `TRIMTAB_SECRETS_DIR` | The path of the directory of secrets. |
| `OTEL_…` | The export of traces and metrics: [telemetry.md](telemetry.md). |

`trimtab up` sets the addresses, paths and passwords of its services itself. It passes on
`TRIMTAB_LOG_LEVEL`, `TRIMTAB_TASK_PORTS`, `TRIMTAB_TASK_READABLE`, `TRIMTAB_TASK_WRITABLE` and
`OTEL_…`, no other of these variables; its `--settings` names the file. The variables of the command
line are in [cli.md](cli.md)."""

_UNITS = ("seconds", "days", "bytes")
_DNS_LABEL = TypeAdapter(DnsLabel).json_schema()["pattern"]


class Block(NamedTuple):
    """A model whose fields are keys of a field of the configuration."""

    title: str
    """The heading of its table: the service, and the keys that lead to the block."""
    variable: str
    """The variable that contains it; empty in a list, whose entries have none."""
    schema: Schema

    @property
    def anchor(self) -> str:
        """The anchor that GitHub gives to the heading."""
        return re.sub(r"[^\w -]", "", self.title.lower()).replace(" ", "-")


def page() -> str:
    """Return the text of the page."""
    sections = [_INTRODUCTION, "## Every service", _table("", ServiceConfig)]
    for service, config in SERVICES.items():
        sections += [f"## {service}", "In addition to the variables of every service:"]
        sections.append(_table(service, config))
    return "\n\n".join(sections) + "\n"


def properties(config: type[ServiceConfig]) -> Iterator[tuple[str, Schema]]:
    """Yield every field of a configuration and of its blocks, with the keys that lead to it."""
    schema = config.model_json_schema()
    models = {"": schema, **schema.get("$defs", {})}
    for model, definition in models.items():
        for name, field in definition.get("properties", {}).items():
            yield f"{model}.{name}".removeprefix("."), field


def _table(service: str, config: type[ServiceConfig]) -> str:
    """Return the table of the fields that a class adds, and after it those of their blocks."""
    schema = config.model_json_schema()
    definitions = schema.get("$defs", {})
    own = {name: schema["properties"][name] for name in config.__annotations__}
    rows = ["| variable | value | default | meaning |", "|---|---|---|---|"]
    blocks = []
    for name, field in own.items():
        variable = f"TRIMTAB_{name.upper()}"
        block = _block(f"{service}: {name}", variable, field, definitions)
        rows.append(_row([f"`{variable}`"], name, field, block, name in schema.get("required", ())))
        blocks += [block] if block else []
    return "\n\n".join(["\n".join(rows), *(_block_section(each, definitions) for each in blocks)])


def _block_section(block: Block, definitions: Schema) -> str:
    """Return the heading and the table of a block, and after it those of the blocks in it."""
    columns = ["key", "variable"] if block.variable else ["key"]
    rows = [_line([*columns, "value", "default", "meaning"]), "|---" * (len(columns) + 3) + "|"]
    blocks = []
    for key, field in block.schema["properties"].items():
        # A variable has the key as the file has it. With underscores between words it would be
        # another key, which is an error where the file has this one too.
        variable = f"{block.variable}__{key.upper()}" if block.variable else ""
        inner = _block(f"{block.title}.{key}", variable, field, definitions)
        names = [f"`{name}`" for name in (key, variable) if name]
        rows.append(_row(names, key, field, inner, key in block.schema.get("required", ())))
        blocks += [inner] if inner else []
    sections = [f"### {block.title}", "\n".join(rows)]
    return "\n\n".join([*sections, *(_block_section(each, definitions) for each in blocks)])


def _block(title: str, variable: str, field: Schema, definitions: Schema) -> Block | None:
    """Return the block that a field contains, or one of its list or map; ``None`` without one."""
    match field:
        case {"$ref": str(reference)} | {"anyOf": [{"$ref": str(reference)}, {"type": "null"}]}:
            pass
        case {"items": {"$ref": str(reference)}}:
            variable = ""
        case {"additionalProperties": {"$ref": str(reference)}}:
            variable = f"{variable}__<NAME>"
        case _:
            return None
    schema = definitions[reference.rpartition("/")[2]]
    return Block(title, variable, schema) if "properties" in schema else None  # any JSON


def _row(names: list[str], name: str, field: Schema, block: Block | None, is_required: bool) -> str:
    default = "required" if is_required else _default(field)
    return _line([*names, _value(name, field, block), default, _meaning(field)])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(name: str, field: Schema, block: Block | None) -> str:
    """Return the type and the limits of a field in words."""
    link = f"(#{block.anchor})" if block else ""
    match field:
        case {"anyOf": [inner, {"type": "null"}]}:
            return _value(name, inner, block)
        case {"const": choice}:
            return f"`{choice}`"
        case {"enum": choices}:
            return " or ".join(f"`{choice}`" for choice in choices)
        case {"type": "boolean"}:
            return "`true` or `false`"
        case {"$ref": _}:
            return f"[block]{link}"
        case {"type": "array", "items": {"$ref": _}}:
            return f"list of [blocks]{link}"
        case {"type": "array", "items": {"format": "directory-path"}}:
            return "path of an existing directory, or a list of them"
        case {"type": "array", "items": items}:
            parts = [f"list of {_text(items)}s"]
        case {"type": "object"}:
            return f"map of [blocks]{link}" if block else "map"
        case {"type": "integer" | "number" as kind}:
            parts = ["whole number" if kind == "integer" else "number"]
            parts[0] += next((f" of {unit}" for unit in _UNITS if name.lower().endswith(unit)), "")
        case _:
            parts = [_text(field)]
    return ", ".join([*parts, *_limits(field)])


def _text(field: Schema) -> str:
    match field:
        case {"format": "password"}:
            return "secret string"
        case {"format": "directory-path"}:
            return "path of an existing directory"
        case {"format": "path"}:
            return "path"
        case {"pattern": pattern} if pattern == _DNS_LABEL:
            return "DNS label"
        case {"type": "string"}:
            return "string"
    raise ValueError(f"a field without a type that the page has words for: {field}")


def _limits(field: Schema) -> Iterator[str]:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    yield from (f"{sign} {_number(field[key])}" for key, sign in signs.items() if key in field)
    if "minItems" in field:
        yield f"at least {field['minItems']}"


def _default(field: Schema) -> str:
    match field:
        case {"$ref": _}:
            return ""
        case {"default": None}:
            return "not set"
        case {"default": ""}:
            return "empty"
        case {"default": str(text)}:
            return f"`{text}`"
        case {"default": float(number)}:
            return f"`{_number(number)}`"
        case {"default": value}:
            return f"`{json.dumps(value)}`"
    raise ValueError(f"a field without a default that is not required: {field}")


def _number(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _meaning(field: Schema) -> str:
    """Return the docstring of a field in one line of Markdown."""
    return " ".join(field.get("description", "").replace("``", "`").split())
