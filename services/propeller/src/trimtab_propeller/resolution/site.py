"""The facts that a propeller adds to the request and the settings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimtab_propeller.pods.defaults import PodDefaults


@dataclass(frozen=True)
class Site:
    """The configuration of a propeller, and the state of its clusters."""

    cluster_problems: Mapping[str, str] = field(default_factory=dict)
    """Why the namespace of the execution cannot be used, by cluster; others can be used."""
    pods: PodDefaults = field(default_factory=PodDefaults)
    """The configuration of pods."""
    queueing_budgets: Mapping[str, float] = field(default_factory=dict)
    """The seconds of each tier of ``quality_of_service``."""
    default_tier: str = ""
    """The tier of executions whose settings have no ``quality_of_service``; empty is none."""
