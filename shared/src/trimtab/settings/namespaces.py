"""The name of the namespace of each project and domain, and what it may not be. Pure.

admin refuses a project, a domain or a template that would make two namespaces one; clusterres names
by the same function, so that both always speak of the same place.
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


class Owner(NamedTuple):
    """What a namespace is for; a part that the template leaves out is empty: it is for all."""

    project: str
    domain: str

    def __str__(self) -> str:
        said = (("project", self.project), ("domain", self.domain))
        return " in ".join(f"{what} {name!r}" for what, name in said if name) or "everything"


def checked(template: str) -> str:
    """The template; empty is the default, as in Flyte. Raises `ValueError` on a placeholder."""
    rest = template.replace(PROJECT, "").replace(DOMAIN, "")
    if "{{" in rest or "}}" in rest:
        raise ValueError(f"its placeholders are {PROJECT} and {DOMAIN}")
    return template or DEFAULT


def name(template: str, project: str, domain: str) -> str:
    return template.replace(PROJECT, project).replace(DOMAIN, domain)


def owners(template: str, projects: Iterable[str], domains: Iterable[str]) -> dict[str, Owner]:
    """Every namespace by name.

    Raises `Invalid` where a name is no DNS label, and `Conflict` where one would be for two.
    """
    found: dict[str, Owner] = {}
    every_domain = sorted(domains)
    for project in sorted(projects):
        for domain in every_domain:
            owner = Owner(project * (PROJECT in template), domain * (DOMAIN in template))
            namespace = name(template, project, domain)
            known = found.setdefault(namespace, owner)
            if known is owner:
                _check(namespace, owner)
            elif known != owner:
                raise Conflict(f"namespace {namespace!r} would be for {known} and for {owner}")
    return found


def _check(namespace: str, owner: Owner) -> None:
    try:
        _LABEL.validate_python(namespace)
    except ValidationError as error:
        allowed = "at most 63 small letters, digits and - that begin and end with none of -"
        raise Invalid(f"namespace of {owner}", namespace, allowed) from error
