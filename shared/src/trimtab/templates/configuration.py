"""Flyte's configuration block ``cluster_resources``: where templates are, and their values."""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    model_validator,
)
from pydantic.alias_generators import to_camel

from trimtab.errors import Invalid
from trimtab.kinds.cluster_resource import check_placeholder
from trimtab.templates import regular_files
from trimtab.templates.regular_files import UnusableFile
from trimtab.templates.values import ConfiguredValues, TemplateValue

MAX_FILE_BYTES = 1024 * 1024
"""The largest Secret or ConfigMap that Kubernetes stores."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_DURATION = re.compile(r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_READ_BY_NOTHING = "refresh"
"""A key that configurations of Flyte have, and that Flyte ignores as well."""


class _Block(BaseModel):
    """The base of blocks. As in Flyte, the case of letters in their keys does not matter."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _spell(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        spelling = {str(field.alias).lower(): field.alias for field in cls.model_fields.values()}
        return {
            spelling.get(str(key).lower(), key): value
            for key, value in content.items()
            if value is not None and key != _READ_BY_NOTHING
        }


def _merged(content: Any) -> Any:
    """Return a map that is written as a list of maps, in which a later entry replaces others.

    As in Flyte, nothing is a map without entries.
    """
    if content is None:
        return {}
    if not isinstance(content, list) or not all(isinstance(entry, Mapping) for entry in content):
        return content
    return {key: value for entry in content for key, value in entry.items()}


def _text(value: Any) -> Any:
    """Return a number as the text that Flyte's loader makes of it."""
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _duration(value: Any) -> Any:
    """Return a number, which is in nanoseconds, as text."""
    return f"{value}ns" if isinstance(value, int) and not isinstance(value, bool) else value


def _check_duration(text: str) -> str:
    if text != "0" and not _DURATION.fullmatch(text):
        raise ValueError("a duration of Go, such as 5m or 1h30m, or a number of nanoseconds")
    return text


class ValueFrom(_Block):
    """Where a value is read from; it is read again for later renders."""

    env: str = ""
    """A variable of the environment of clusterres."""
    file_path: str = ""
    """A file, such as one of a mounted Secret. A line break at its end is no part of the value."""


class ValueSource(_Block):
    """The source of a value. Where several are set, the order is value, env, filePath."""

    value: Annotated[str, BeforeValidator(_text)] = ""
    """The value itself."""
    value_from: ValueFrom = ValueFrom()
    """Where the value is read from."""


_Name = Annotated[str, AfterValidator(check_placeholder)]
_Sources = Annotated[dict[_Name, ValueSource], BeforeValidator(_merged)]


class ClusterResources(_Block):
    """The block; a map may be written as a list of maps, as Flyte's charts do."""

    template_path: str = ""
    """A directory of templates, before those of ``templates``; ``$VAR`` is replaced from the
    environment."""
    template_data: _Sources = {}
    """Sources of values for all namespaces, by name of the placeholder. The case of letters in
    names is kept, also in maps; Flyte's loader makes them lower case there."""
    custom_data: Annotated[dict[str, _Sources], BeforeValidator(_merged)] = {}
    """The same by domain; they win over ``templateData``."""
    standalone_deployment: bool = False
    """Accepted and ignored: clusterres is always a deployment of its own."""
    refresh_interval: Annotated[
        str, BeforeValidator(_duration), AfterValidator(_check_duration)
    ] = "1m"
    """Accepted and ignored: changes are noticed at once."""

    @property
    def directories(self) -> tuple[Path, ...]:
        """The directory of ``templatePath``, if any. Raises `Invalid` on an unset variable."""

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in os.environ:
                path = "cluster_resources.templatePath"
                allowed = f"a path without ${name}, which is not set in the environment"
                raise Invalid(path, self.template_path, allowed)
            return os.environ[name]

        path = _VARIABLE.sub(value, self.template_path)
        return (Path(path),) if path else ()

    def read_values(self) -> ConfiguredValues:
        """Read every source. One without a value has a problem instead, which fails its users."""
        return ConfiguredValues(
            {
                name: _read(f"templateData.{name}", each)
                for name, each in self.template_data.items()
            },
            {
                domain: {
                    name: _read(f"customData.{domain}.{name}", source)
                    for name, source in sources.items()
                }
                for domain, sources in self.custom_data.items()
            },
        )


def _read(path: str, source: ValueSource) -> TemplateValue:
    if source.value:
        return TemplateValue(source.value)
    if variable := source.value_from.env:
        text = os.environ.get(variable, "")
        problem = f"{path}: the variable {variable} of the environment is not set or empty"
    elif file := source.value_from.file_path:
        text, problem = _read_file(file)
        problem = f"{path}: file {problem}"
    else:
        text, problem = "", f"{path} needs one of value, valueFrom.env, valueFrom.filePath"
    return TemplateValue(text, "" if text else problem, is_hidden=True)


def _read_file(path: str) -> tuple[str, str]:
    """Return the content of a file, and the problem where there is none."""
    try:
        text = regular_files.read_text(Path(path), MAX_FILE_BYTES)
    except UnusableFile as error:
        return "", str(error)
    return text.removesuffix("\n").removesuffix("\r"), f"{path} is empty"
