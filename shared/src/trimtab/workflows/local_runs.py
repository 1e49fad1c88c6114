"""Run a workflow in this process, without a server: each call once, one after the other.

Types, inputs, hooks and overrides are checked as at registration and at creation. Of the values of
a node, only its environment has an effect here.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import JsonValue

from trimtab.workflows.definitions.workflow_functions import WorkflowFunction
from trimtab.workflows.graphs.graph import Node, Workflow
from trimtab.workflows.graphs.node_overrides import NodeOverrides, merge_overrides
from trimtab.workflows.graphs.node_runs import run_nodes
from trimtab.workflows.values.checking import check


class NodeFailure(Exception):
    """A task raised an error."""

    def __init__(self, node: str, task: str, error: BaseException) -> None:
        super().__init__(f"node {node}, task {task}: {error}")
        self.node = node
        self.task = task
        self.error = error


@dataclass(frozen=True)
class LocalRun:
    """One execution of a workflow in this process."""

    defined: WorkflowFunction
    workflow: Workflow
    """The workflow, expanded."""
    overrides: Mapping[str, NodeOverrides]
    """By name of hook, or ``path/name``."""

    @classmethod
    def of(
        cls, defined: WorkflowFunction, overrides: Mapping[str, NodeOverrides] | None = None
    ) -> "LocalRun":
        """Raises `Rejected` where a call cannot run here, and on overrides of unknown hooks."""
        workflow = defined.runnable()
        workflow.check_hooks("overrides", overrides or {})
        return cls(defined, workflow, overrides or {})

    def run(
        self, inputs: Mapping[str, JsonValue], on_node: Callable[[Node], None] = lambda _: None
    ) -> JsonValue:
        """Return the output. Raises `Invalid` for wrong inputs or output, and `NodeFailure`."""

        def call(node: Node, values: Mapping[str, JsonValue]) -> JsonValue:
            output = self._call(node, values)
            on_node(node)
            return output

        output = run_nodes(self.workflow, inputs, call)
        # The workflow may declare less than what a task returned.
        check(f"{self.defined.name}: return", output, self.workflow.output_schema)
        return output

    def _call(self, node: Node, values: Mapping[str, JsonValue]) -> JsonValue:
        try:
            with _environment(self._config_of(node).environment or {}):
                return self.defined.tasks[node.task].types.call(values)
        except (Exception, SystemExit) as error:
            raise NodeFailure(node.id, node.task, error) from error

    def _config_of(self, node: Node) -> NodeOverrides:
        config = merge_overrides(self.workflow.tasks[node.task].config, node.overrides)
        if node.hook is None:
            return config
        config = merge_overrides(config, node.hook.default)
        for name in dict.fromkeys((node.hook.name, node.hook.full_name)):
            if name in self.overrides:
                config = merge_overrides(config, self.overrides[name])
        return config


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
