"""Judge what a pod needs by its pod policies. Pure.

The policies are effective values of `pod_policy`: that of the part of an execution that the pod is
of, and those of every part around it. All of them have to allow an access.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from trimtab.echoes import cut, echo, shown
from trimtab.errors import Invalid
from trimtab.kinds.narrowing import is_covered
from trimtab.resolution.limits import Refusal
from trimtab.resolution.pod_readers import Access
from trimtab.settings.fold import Effective

KIND = "pod_policy"
_BY_DEFAULT = "which only the settings file or the platform can allow, and does not"


class Denial(NamedTuple):
    """A part of a pod that a policy does not allow."""

    access: Access
    scope: str
    """The scope of the record that restricts; empty where the default denies."""
    allowed: str
    """The values that are allowed instead."""
    reason: str

    def refusal(self) -> Refusal:
        path = cut(self.access.path)
        value = echo(path, self.access.value)
        return Refusal(path, value, self.reason, limit=self.allowed, scope=self.scope)


def check(accesses: Iterator[Access], policies: Sequence[Effective]) -> None:
    """Raise `Refusal` for the first access that a policy denies, or that cannot be read."""
    try:
        denial = first_denial(accesses, policies)
    except Invalid as error:
        path = cut(error.path)
        reason = (
            f"{path}: {shown(path, error.value)} cannot be read, so no policy can allow it; "
            f"allowed: {error.allowed}"
        )
        raise Refusal(path, echo(path, error.value), reason, limit=error.allowed) from error
    if denial is not None:
        raise denial.refusal()


def first_denial(accesses: Iterable[Access], policies: Sequence[Effective]) -> Denial | None:
    """Return the first access that a policy denies, the innermost policy first."""
    for access in accesses:
        for policy in policies:
            if (denial := _judge(access, policy)) is not None:
                return denial
    return None


def _judge(access: Access, policy: Effective) -> Denial | None:
    match access.field:
        case "service_accounts":
            names = _names(policy, access.field)
            if names is None or access.name in names:
                return None
            return _denial(access, policy, f"one of {_list(names)}" if names else "none")
        case "host_path":
            prefixes = _names(policy, access.field) or []
            if is_covered(access.name, prefixes):
                return None
            return _denial(access, policy, f"paths in {_list(prefixes)}" if prefixes else "none")
        case _:
            if policy.flat.get(access.field) is True:
                return None
            return _denial(access, policy, access.without or "no such field")


def _denial(access: Access, policy: Effective, allowed: str) -> Denial:
    leaf = policy.leaves.get(access.field)
    is_default = leaf is None or leaf.value is None
    scope = "" if is_default or leaf is None else str(leaf.scope)
    cause = f"which {scope} does not allow" if scope else _BY_DEFAULT
    path = cut(access.path)
    reason = (
        f"{path}: {shown(path, access.value)} needs {KIND}.{access.field}, {cause}; "
        f"allowed: {allowed}"
    )
    return Denial(access, scope, allowed, reason)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _names(policy: Effective, field: str) -> list[str] | None:
    """Return the items of a list in a policy; ``None`` where it has none."""
    value = policy.flat.get(field)
    if not isinstance(value, list):
        return None
    return [item for item in value if isinstance(item, str)]
