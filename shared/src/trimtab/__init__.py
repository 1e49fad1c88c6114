"""Trimtab's library. The names exported here are the SDK, to write workflows and to use pools.

Importing it loads neither NATS nor an HTTP client: what uses pools and what loads the modules of
others is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from trimtab.workflows.definitions.containers import Container, K8sObjectMetadata, K8sPod
from trimtab.workflows.definitions.launch_plans import LaunchPlan
from trimtab.workflows.definitions.overrides import (
    Pool,
    TaskNodeConfigOverride,
    runtime_override_config,
)
from trimtab.workflows.definitions.references import (
    reference_launch_plan,
    reference_task,
    reference_workflow,
)
from trimtab.workflows.definitions.resources import ResourceEntry, ResourceName, Resources
from trimtab.workflows.definitions.tasks import ContainerTask, PythonTask, task
from trimtab.workflows.definitions.workflow_functions import workflow
from trimtab.workflows.files import Directory, File
from trimtab.workflows.graphs.runtimes import RuntimeMetadata

if TYPE_CHECKING:
    from trimtab.tokens.lease import LeaseLost
    from trimtab.tokens.pools import connected as pools
    from trimtab.workflows.code.bad_modules import BadModule
    from trimtab.workflows.code.loader import load_module
    from trimtab.workflows.code.registration import Module

__all__ = [
    "BadModule",
    "Container",
    "ContainerTask",
    "Directory",
    "File",
    "K8sObjectMetadata",
    "K8sPod",
    "LaunchPlan",
    "LeaseLost",
    "Module",
    "Pool",
    "PythonTask",
    "ResourceEntry",
    "ResourceName",
    "Resources",
    "RuntimeMetadata",
    "TaskNodeConfigOverride",
    "load_module",
    "pools",
    "reference_launch_plan",
    "reference_task",
    "reference_workflow",
    "runtime_override_config",
    "task",
    "workflow",
]

_LAZY = {
    "BadModule": ("trimtab.workflows.code.bad_modules", "BadModule"),
    "LeaseLost": ("trimtab.tokens.lease", "LeaseLost"),
    "Module": ("trimtab.workflows.code.registration", "Module"),
    "load_module": ("trimtab.workflows.code.loader", "load_module"),
    "pools": ("trimtab.tokens.pools", "connected"),
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)
