"""Check that overrides of hooks keep the types of task configurations. Pure."""

from trimtab.resolution.sources import node_sources
from trimtab.workflows.graphs.graph import Node, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, NodeOverrides, merge_overrides
from trimtab.workflows.graphs.task_configs import check_task_config
from trimtab_admin.executions.hook_overrides import FIELDS, HookOverrides, Overrides


def check(workflow: Workflow, plan: LaunchPlan, overrides: Overrides) -> None:
    """Raise `Invalid`, which names the override, where one changes a type.

    The workflow is expanded.
    """
    given = HookOverrides.setting(plan, overrides, _has_config)
    if not given:
        return
    for node in workflow.nodes:
        if node.hook is not None:
            _check_node(workflow, plan, overrides, node, given)


def _check_node(
    workflow: Workflow, plan: LaunchPlan, overrides: Overrides, node: Node, given: HookOverrides
) -> None:
    assert node.hook is not None
    fields = [field for _, field, _ in given.of(node.hook)]
    if not fields:
        return
    sources = node_sources(node, workflow, plan, overrides)
    own = NO_OVERRIDES
    for source, each in reversed([item for item in sources if _has_config(item[1])]):
        if source in FIELDS:
            check_task_config(fields.pop(), own, each)
        own = merge_overrides(own, each)


def _has_config(overrides: NodeOverrides) -> bool:
    return overrides.task_config is not None or overrides.task_config_type is not None
