"""The names of namespaces, made from a template, a project and a domain. Pure.

admin refuses a project, a domain or a template that would give two namespaces the same name;
clusterres uses the same function for the names, so that both always mean the same namespace.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from trimtab.errors import Conflict, Invalid
from trimtab.models import DnsLabel

PROJECT = "{{ project }}"
DOMAIN = "{{ domain }}"
DEFAULT = f"{PROJECT}-{DOMAIN}"

_LABEL: TypeAdapter[str] = TypeAdapter(DnsLabel)


class NamespaceTarget(NamedTuple):
    """The project and the domain that a namespace is for.

    A part that the template does not contain is empty: the namespace is for all of them.
    """

    project: str
    domain: str

    def __str__(self) -> str:
        parts = (("project", self.project), ("domain", self.domain))
        set_parts = [f"{part} {name!r}" for part, name in parts if name]
        return " in ".join(set_parts) or "all projects and domains"


def check_template(template: str) -> str:
    """Return the template; as in Flyte, empty text means the default.

    Raises `ValueError` on an unknown placeholder.
    """
    rest = template.replace(PROJECT, "").replace(DOMAIN, "")
    if "{{" in rest or "}}" in rest:
        raise ValueError(f"a template whose only placeholders are {PROJECT} and {DOMAIN}")
    return template or DEFAULT


def name(template: str, project: str, domain: str) -> str:
    return template.replace(PROJECT, project).replace(DOMAIN, domain)


def add_targets(
    targets: dict[str, NamespaceTarget], template: str, project: str, domains: Iterable[str]
) -> None:
    """Add the targets of the namespaces of one project, by the names of these.

    Raises `Invalid` where a name is not a DNS label, and `Conflict` where two targets would share a
    namespace.
    """
    for domain in domains:
        target = NamespaceTarget(
            project if PROJECT in template else "", domain if DOMAIN in template else ""
        )
        namespace = name(template, project, domain)
        known = targets.setdefault(namespace, target)
        if known is target:
            _check_label(namespace, target)
        elif known != target:
            raise Conflict(f"namespace {namespace!r} would be for {known} and for {target}")


def _check_label(namespace: str, target: NamespaceTarget) -> None:
    try:
        _LABEL.validate_python(namespace)
    except ValidationError as error:
        allowed = "at most 63 small letters, digits and - that begin and end with a letter or digit"
        raise Invalid(f"namespace of {target}", namespace, allowed) from error
