"""Check the pods of hook overrides by the pod policy of the settings, before propeller does. Pure.

Propeller judges each pod when it admits the execution, by the policies of that time and of every
launch plan that is called. Here the author of an override gets the error at once.
"""

from trimtab.errors import Invalid
from trimtab.resolution import pod_access
from trimtab.resolution.pod_policies import first_denial
from trimtab.settings.fold import Effective
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab_admin.executions.hook_overrides import HookOverrides, Overrides


def check(workflow: Workflow, plan: LaunchPlan, overrides: Overrides, policy: Effective) -> None:
    """Raise `Invalid`, which names the override, for a pod that the policy does not allow.

    The workflow is expanded. An override that another one replaces has no effect.
    """
    given = HookOverrides.setting(plan, overrides, lambda each: each.pod_template is not None)
    if not given:
        return
    checked = set[str]()
    for hook in (node.hook for node in workflow.nodes if node.hook is not None):
        _, field, winner = next(given.of(hook), ("", "", None))
        if winner is None or winner.pod_template is None or field in checked:
            continue
        checked.add(field)
        template = winner.pod_template.model_dump(mode="json")
        denial = first_denial(pod_access.of_template(f"{field}.pod_template", template), [policy])
        if denial is not None:
            access = denial.access
            source = (
                f" by {denial.scope}"
                if denial.scope
                else ", unless the settings file or the platform allows it"
            )
            allowed = f"{denial.allowed}{source} (pod_policy.{access.field})"
            raise Invalid(access.path, access.value, allowed)
