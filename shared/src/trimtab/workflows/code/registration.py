"""Models of the workflows that a user's modules define, with the code that runs their tasks."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trimtab.errors import Invalid
from trimtab.workflows.code.bundles import Bundle
from trimtab.workflows.code.import_graph import ImportGraph, module_name
from trimtab.workflows.code.module_contents import Definitions
from trimtab.workflows.definitions.overrides import Pool
from trimtab.workflows.definitions.tasks import ContainerTask, PythonTask
from trimtab.workflows.graphs.graph import Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides, merge_overrides
from trimtab.workflows.graphs.targets import Function

_VERSION_CHARACTERS = 12


@dataclass(frozen=True)
class Module:
    """The workflows, launch plans and pools that files define, ready to be registered."""

    workflows: tuple[Workflow, ...]
    launch_plans: tuple[LaunchPlan, ...]
    """Launch plans other than the default ones."""
    pools: tuple[Pool, ...]
    """Pools whose quota the tasks declare."""
    bundle: Bundle | None = None
    """The code of the workflows, where it has more than one file."""
    warnings: tuple[str, ...] = ()
    """Likely mistakes, with the file."""


def register(definitions: Definitions, version: str | None) -> Module:
    """Build the models of all definitions.

    The default version is a hash of the code. Raises `Invalid`, and any error of the user's code.
    """
    code = _RegisteredCode(definitions)
    version = version or code.digest[:_VERSION_CHARACTERS]
    workflows = {
        name: code.complete(defined.graph(version, definitions.text or ""))
        for name, defined in definitions.workflows.items()
    }
    plans = tuple(
        plan.graph(workflows[name])
        for name, defined in definitions.workflows.items()
        for plan in defined.launch_plans.values()
    )
    pools = _declared_pools(definitions.tasks.values())
    warnings = tuple(definitions.code.warnings)
    return Module(tuple(workflows.values()), plans, pools, code.bundle, warnings)


class _RegisteredCode:
    """The code of the definitions, as far as it is registered."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._graph = ImportGraph(definitions.code.files)
        whole = Bundle(definitions.code.root, definitions.code.files)
        self.bundle = None if _is_elsewhere(definitions) else whole
        if definitions.text is not None:
            self.digest = _sha256(definitions.text)
        elif definitions.image is None:
            self.digest = whole.digest
        else:
            self.digest = _sha256(f"{whole.digest} {definitions.image}")
        # The name of a single file is no part of what is registered.
        self._hashes = {
            path if definitions.text is None else "": hashlib.sha256(content).hexdigest()
            for path, content in definitions.code.files.items()
        }

    def complete(self, workflow: Workflow) -> Workflow:
        """Return the workflow with the places and digests of its tasks."""
        tasks = {name: self._complete_task(task) for name, task in workflow.tasks.items()}
        bundle = "" if self.bundle is None else self.bundle.digest
        return workflow.model_copy(update={"tasks": tasks, "bundle": bundle})

    def _complete_task(self, task: Task) -> Task:
        files: Iterable[str] = ()
        called = self._definitions.tasks[task.name]
        if isinstance(task.target, Function):
            task = task.model_copy(update={"target": self._definitions.target_of(called)})
        if not isinstance(called, ContainerTask):
            task = task.model_copy(update={"config": self._config_of(task)})
            files = self._files_of(called)
        definition = task.model_dump(mode="json", exclude={"digest"})
        hashes = {path: self._hashes[path] for path in files}
        content = json.dumps([definition, hashes], sort_keys=True)
        return task.model_copy(update={"digest": _sha256(content)})

    def _files_of(self, task: PythonTask[Any]) -> Iterable[str]:
        """Return the modules that a task can import, and files that any module can read."""
        if self._definitions.text is not None:
            return self._hashes
        others = {path for path in self._hashes if module_name(path) is None}
        return others | self._graph.closure(self._definitions.target_of(task).module)

    def _config_of(self, task: Task) -> NodeOverrides:
        image = self._definitions.image
        if image is None or _has_image(task.config):
            return task.config
        return merge_overrides(task.config, NodeOverrides(container_image=image))


def _has_image(config: NodeOverrides) -> bool:
    template = config.pod_template
    if config.container_image is not None or template is None:
        return config.container_image is not None
    containers = template.pod_spec.get("containers")
    return isinstance(containers, list) and any(
        isinstance(each, dict)
        and each.get("name") == template.primary_container_name
        and each.get("image")
        for each in containers
    )


def _is_elsewhere(definitions: Definitions) -> bool:
    return definitions.text is not None or definitions.image is not None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _declared_pools(tasks: Iterable[PythonTask[Any]]) -> tuple[Pool, ...]:
    pools: dict[str, Pool] = {}
    for task in tasks:
        pool = task.pool
        if pool is None or pool.quota is None:
            continue
        if pools.setdefault(pool.name, pool) != pool:
            raise Invalid(f"pool {pool.name}: quota", pool.quota, str(pools[pool.name].quota))
    return tuple(pools.values())
