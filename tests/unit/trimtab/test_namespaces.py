"""Names of namespaces, and those that are refused because two targets would share one."""

from collections.abc import Sequence

import pytest

from trimtab.errors import Conflict, Invalid
from trimtab.settings import namespaces
from trimtab.settings.namespaces import DEFAULT, NamespaceTarget


def targets_of(
    template: str, projects: Sequence[str], domains: Sequence[str]
) -> dict[str, NamespaceTarget]:
    targets: dict[str, NamespaceTarget] = {}
    for project in projects:
        namespaces.add_targets(targets, template, project, domains)
    return targets


def test_each_project_and_domain_has_a_namespace_of_its_own() -> None:
    assert targets_of(DEFAULT, ["shop"], ["development", "production"]) == {
        "shop-development": NamespaceTarget("shop", "development"),
        "shop-production": NamespaceTarget("shop", "production"),
    }


def test_two_targets_with_the_same_namespace_are_refused_and_named() -> None:
    with pytest.raises(Conflict, match=r"'a-b-c'.*project 'a' in domain 'b-c'.*project 'a-b'"):
        targets_of(DEFAULT, ["a", "a-b"], ["c", "b-c"])


def test_a_template_may_give_all_projects_of_a_domain_one_namespace() -> None:
    targets = targets_of("flyte-{{ domain }}", ["a", "b"], ["development"])
    assert targets == {"flyte-development": NamespaceTarget("", "development")}


@pytest.mark.parametrize("template", ["{{ project }}_{{ domain }}", "X{{ project }}", "-"])
def test_a_name_that_is_not_a_dns_label_is_refused(template: str) -> None:
    with pytest.raises(Invalid, match="63 small letters"):
        targets_of(template, ["shop"], ["development"])


def test_a_name_of_64_letters_is_refused_and_one_of_63_is_not() -> None:
    targets_of(DEFAULT, ["p" * 51], ["development"])
    with pytest.raises(Invalid, match=r"project 'p+' in domain 'development'"):
        targets_of(DEFAULT, ["p" * 52], ["development"])


@pytest.mark.parametrize("template", ["{{project}}", "{{ org }}-{{ domain }}"])
def test_an_unknown_placeholder_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="placeholders are"):
        namespaces.check_template(template)
