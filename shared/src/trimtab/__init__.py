"""Trimtab's library. What is named here is the SDK: enough to write and register workflows.

It imports neither NATS nor an HTTP client; those are in `trimtab.bus` and `trimtab.client`.
"""

from trimtab.modules import BadModule, Module, load_module
from trimtab.overrides import Pool, Resources, runtime_override_config
from trimtab.sdk import LaunchPlan, task, workflow

__all__ = [
    "BadModule",
    "LaunchPlan",
    "Module",
    "Pool",
    "Resources",
    "load_module",
    "runtime_override_config",
    "task",
    "workflow",
]
