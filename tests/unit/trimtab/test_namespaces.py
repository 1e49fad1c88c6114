"""Names of namespaces: what they are, and when two would be one."""

import pytest

from trimtab.errors import Conflict, Invalid
from trimtab.settings import namespaces
from trimtab.settings.namespaces import DEFAULT, Owner


def test_each_project_and_domain_has_a_namespace_of_its_own() -> None:
    assert namespaces.owners(DEFAULT, ["shop"], ["development", "production"]) == {
        "shop-development": Owner("shop", "development"),
        "shop-production": Owner("shop", "production"),
    }


def test_two_that_would_be_one_are_refused_naming_both() -> None:
    with pytest.raises(Conflict, match=r"'a-b-c'.*project 'a' in domain 'b-c'.*project 'a-b'"):
        namespaces.owners(DEFAULT, ["a", "a-b"], ["c", "b-c"])


def test_a_template_may_give_all_projects_of_a_domain_one_namespace() -> None:
    owners = namespaces.owners("flyte-{{ domain }}", ["a", "b"], ["development"])
    assert owners == {"flyte-development": Owner("", "development")}


@pytest.mark.parametrize("template", ["{{ project }}_{{ domain }}", "X{{ project }}", "-"])
def test_a_name_that_is_no_dns_label_is_refused(template: str) -> None:
    with pytest.raises(Invalid, match="63 small letters"):
        namespaces.owners(template, ["shop"], ["development"])


def test_a_name_of_64_letters_is_refused_and_one_of_63_is_not() -> None:
    namespaces.owners(DEFAULT, ["p" * 51], ["development"])
    with pytest.raises(Invalid, match=r"project 'p+' in domain 'development'"):
        namespaces.owners(DEFAULT, ["p" * 52], ["development"])


@pytest.mark.parametrize("template", ["{{project}}", "{{ org }}-{{ domain }}"])
def test_a_placeholder_that_there_is_not_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="placeholders are"):
        namespaces.checked(template)
