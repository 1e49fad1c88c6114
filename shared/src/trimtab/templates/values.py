"""The values of all placeholders for one project and domain, from every source. Pure.

The sources, of which the first that has a name wins:

1. the attributes of the effective ``cluster_resource``;
2. ``customData`` of the domain;
3. ``templateData``;
4. the defaults that templates declare.

``namespace``, ``project`` and ``domain`` are always those of the namespace. A value may contain
placeholders of later groups, which are replaced once: 1 and 2 those of 3, 4 and the system, 3 and 4
those of the system.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from trimtab.levels import Scope
from trimtab.templates.parsing import PLACEHOLDER

MAX_CHARACTERS = 4 * 1024 * 1024
"""Characters of one value, whose placeholders stand for others."""


class TemplateValue(NamedTuple):
    """The value of a placeholder, or the reason why its source has none."""

    text: str
    problem: str = ""
    """Fails what uses the placeholder, and nothing else."""
    is_hidden: bool = False
    """Whether it was read from a file or the environment, where secrets are."""


Values = Mapping[str, TemplateValue]


@dataclass(frozen=True)
class ConfiguredValues:
    """The values of Flyte's ``cluster_resources`` block, read from their sources."""

    template_data: Values = field(default_factory=dict)
    custom_data: Mapping[str, Values] = field(default_factory=dict)
    """Values by domain."""

    @cached_property
    def characters(self) -> int:
        groups = (self.template_data, *self.custom_data.values())
        return sum(len(value.text) for group in groups for value in group.values())


NOTHING_CONFIGURED = ConfiguredValues()


def values_of(
    namespace: str,
    target: Scope,
    attributes: Mapping[str, str],
    configured: ConfiguredValues,
    defaults: Mapping[str, str],
) -> dict[str, TemplateValue]:
    """Return the value of every placeholder that has a source."""
    system = _literal({"namespace": namespace, "project": target.project, "domain": target.domain})
    broad = _expand({**_literal(defaults), **configured.template_data}, system) | system
    own = {**configured.custom_data.get(target.domain, {}), **_literal(attributes)}
    return broad | _expand(own, broad) | system


def _literal(texts: Mapping[str, str]) -> dict[str, TemplateValue]:
    return {name: TemplateValue(text) for name, text in texts.items()}


def _expand(values: Values, later: Values) -> dict[str, TemplateValue]:
    return {name: _expanded(name, value, later) for name, value in values.items()}


def _expanded(name: str, value: TemplateValue, later: Values) -> TemplateValue:
    """Replace placeholders of a later group; others stay as they are written."""
    used = [later[found] for found in PLACEHOLDER.findall(value.text) if found in later]
    if not used:
        return value
    if problem := next((each.problem for each in used if each.problem), ""):
        return TemplateValue("", problem)
    if len(value.text) + sum(len(each.text) for each in used) > MAX_CHARACTERS:
        return TemplateValue("", f"the value of {name} has more than {MAX_CHARACTERS:,} characters")

    def text(match: re.Match[str]) -> str:
        return later[match[1]].text if match[1] in later else match[0]

    is_hidden = value.is_hidden or any(each.is_hidden for each in used)
    return TemplateValue(PLACEHOLDER.sub(text, value.text), is_hidden=is_hidden)
