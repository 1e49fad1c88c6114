"""Trimtab's library. What is named here is the SDK: to write workflows, and to use pools.

It imports neither NATS nor an HTTP client; those are in `trimtab.leasing`, `trimtab.bus` and
`trimtab.client`. `pools` and `LeaseLost` are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from trimtab.modules import BadModule, Module, load_module
from trimtab.overrides import Pool, Resources, runtime_override_config
from trimtab.sdk import LaunchPlan, task, workflow

if TYPE_CHECKING:
    from trimtab.lease import LeaseLost
    from trimtab.leasing import connected as pools

__all__ = [
    "BadModule",
    "LaunchPlan",
    "LeaseLost",
    "Module",
    "Pool",
    "Resources",
    "load_module",
    "pools",
    "runtime_override_config",
    "task",
    "workflow",
]

_LATER = {"LeaseLost": ("trimtab.lease", "LeaseLost"), "pools": ("trimtab.leasing", "connected")}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, its_name = _LATER[name]
    return getattr(import_module(module), its_name)
