"""Rows of a Flyte 1: attributes as its API lists them, and its projects. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes

from trimtab.kinds import Kind
from trimtab.levels import Scope


@dataclass(frozen=True)
class Row:
    """Attributes of one type that are stored for one identity.

    Flyte checks little: the identity and the values may be ones that no scope or document has.
    """

    kind: Kind
    """The kind whose number the row was listed under."""
    message: MatchingAttributes
    project: str = ""
    domain: str = ""
    workflow: str = ""
    launch_plan: str = ""

    @cached_property
    def scope(self) -> Scope:
        """Raises `trimtab.errors.Invalid` where the identity names no level."""
        return Scope(self.domain, self.project, self.workflow, self.launch_plan)

    def __str__(self) -> str:
        """Return such as ``task_resource of project "shop", domain "staging"``."""
        parts = {
            "project": self.project,
            "domain": self.domain,
            "workflow": self.workflow,
            "launch plan": self.launch_plan,
        }
        named = ", ".join(f'{name} "{text}"' for name, text in parts.items() if text)
        return f"{self.kind.name} of {named or 'an empty identity'}"


@dataclass(frozen=True)
class FlyteProject:
    """A project of Flyte."""

    id: str
    name: str = ""
    """The name that Flyte's console shows."""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    is_archived: bool = False
    has_details: bool = True
    """Whether the fields above are those of the project, of which else only the id is given."""
