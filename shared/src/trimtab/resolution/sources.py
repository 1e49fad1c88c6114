"""The sources that may set a value of a node, in their order. Pure."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from trimtab.workflows.graphs.graph import Hook, Node, Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

ENGINE_DEFAULTS: Mapping[str, JsonValue] = {"retries": 0, "interruptible": False}
"""The values of nodes by path where no source sets them."""
CALLED_PLAN = "called launch plan"
"""The source of values that a launch plan sets which the workflow calls."""
_NO_CONFIG = ExecutionConfig()


def node_sources(
    node: Node,
    workflow: Workflow,
    plan: LaunchPlan,
    overrides: Mapping[str, NodeOverrides],
    execution: ExecutionConfig = _NO_CONFIG,
) -> Iterator[tuple[str, NodeOverrides]]:
    """Yield the sources of a node of an expanded workflow, the most specific first.

    ``plan``, ``overrides`` and ``execution`` are those of an execution. The nodes of another launch
    plan that the workflow calls have the values of that one instead of those of ``plan``.
    """
    if node.hook is not None:
        yield from _of_hook("execution override", node.hook, overrides)
        yield from _of_hook("launch plan override", node.hook, plan.runtime_override)
        yield "hook default", node.hook.default
    yield "execution", execution.of_every_node
    if node.plan:
        yield CALLED_PLAN, workflow.plans[node.plan].config.of_every_node
    else:
        yield "launch plan", plan.of_every_node
    yield "with_overrides", node.overrides
    yield "task", workflow.tasks[node.task].config


def _of_hook(
    source: str, hook: Hook, overrides: Mapping[str, NodeOverrides]
) -> Iterator[tuple[str, NodeOverrides]]:
    """Yield the overrides of this node only, then those of all nodes that the hook steers."""
    for name in dict.fromkeys((hook.full_name, hook.name)):
        if name in overrides:
            yield source, overrides[name]
