"""Judge the pods of an execution by its pod policies. Pure.

The policy of a part is the effective `pod_policy` of its target. In a part that is called, the
policies of the parts around it have to allow the same.
"""

from collections.abc import Iterator, Mapping, Sequence

from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution import pod_access, pod_policies
from trimtab.resolution.limits import Refusal
from trimtab.resolution.pod_policies import KIND
from trimtab.resolution.pod_readers import Access
from trimtab.settings.fold import Effective
from trimtab.settings.state import Settings
from trimtab_propeller.pods.draft import Draft
from trimtab_propeller.pods.reach import reached
from trimtab_propeller.resolution.parts import Part

_TEMPLATE = "pod_template"
_ANNOTATIONS = "annotations."
_ACCOUNT = "security_context.run_as.k8s_service_account"

Values = Mapping[str, ResolvedValue]


def of_part(settings: Settings, part: Part) -> tuple[Effective, ...]:
    """Return the policies that pods of the part need, its own first. Raises `Unreadable`."""
    return tuple(settings.effective(KIND, each.target) for each in (part, *part.enclosing))


def check_node(values: Values, policies: tuple[Effective, ...]) -> None:
    """Raise `Refusal` where the pod of a node may not have what its ``pod_template`` holds.

    What a template of propeller's configuration adds is known only where the pod is built.
    """
    template = values.get(_TEMPLATE)
    if template is not None and isinstance(template.value, dict):
        pod_policies.check(pod_access.of_template(_TEMPLATE, template.value), policies)


def check_pod(draft: Draft, policies: Sequence[Effective]) -> None:
    """Raise `Refusal` where users reach more in a built pod than the policies allow.

    The pod of the task was judged before, so this is from the template below it.
    """
    try:
        pod_policies.check(pod_access.of_pod("pod", reached(draft)), policies)
    except Refusal as refusal:
        message = f"over the template of propeller's configuration, {refusal}"
        raise Refusal(
            refusal.path, refusal.value, message, limit=refusal.limit, scope=refusal.scope
        ) from refusal


def check_part(values: Values, execution: Values, policies: tuple[Effective, ...]) -> None:
    """Raise `Refusal` where the pods of a part may not have what they get from other sources.

    ``values`` are those of the part. The service account is that of the execution.
    """
    pod_policies.check(_part_accesses(values, execution), policies)


def _part_accesses(values: Values, execution: Values) -> Iterator[Access]:
    if (account := execution.get(_ACCOUNT)) is not None:
        yield from pod_access.of_service_account(_ACCOUNT, account.value)
    for path, value in values.items():
        if path.startswith(_ANNOTATIONS):
            key = path.removeprefix(_ANNOTATIONS)
            yield from pod_access.of_annotation(path, key, value.value)
