"""Subjects: fixed arity, one reversible escape, a limit of length."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trimtab.strategies import scopes
from trimtab.errors import Invalid
from trimtab.levels import SETTINGS_FILE, Scope
from trimtab.messages import subjects

# No surrogates: UTF-8 cannot encode them.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
one_token = re.compile(r"[A-Za-z0-9_=-]+")


@given(texts)
def test_any_name_becomes_one_token_and_is_read_back(name: str) -> None:
    *_, token = subject = subjects.pool(name).split(".")
    assert subject[:-1] == ["trimtab", "pools"]
    assert one_token.fullmatch(token)
    assert token != "-"
    assert subjects.name_of(subjects.pool(name)) == name


@given(texts, texts)
def test_two_names_never_share_a_subject(one: str, other: str) -> None:
    assert (subjects.project(one) == subjects.project(other)) == (one == other)


@given(texts, texts, texts, texts)
def test_a_record_of_any_names_is_found_again_from_its_subject(
    domain: str, project: str, workflow: str, launch_plan: str
) -> None:
    scope = Scope(domain, project, workflow, launch_plan)
    subject = subjects.attributes("task_resource", scope)
    assert len(subject.split(".")) == 7
    assert subjects.parse_attributes(subject) == ("task_resource", scope)


@given(scopes)
def test_every_scope_has_a_subject_of_the_same_arity(scope: Scope) -> None:
    subject = subjects.attributes("task_resource", scope)
    assert len(subject.split(".")) == 7
    assert subjects.parse_attributes(subject) == ("task_resource", scope)


def test_unset_parts_are_dashes_and_a_dash_is_not() -> None:
    assert subjects.attributes("k", Scope()) == "trimtab.attributes.k.-.-.-.-"
    assert subjects.attributes("k", Scope("-", "p")) == "trimtab.attributes.k.=2D.p.-.-"


def test_the_settings_file_is_no_domain_of_that_name() -> None:
    settings = subjects.attributes("k", SETTINGS_FILE)
    assert settings != subjects.attributes("k", Scope(domain="=settings"))
    assert settings != subjects.attributes("k", Scope(domain="settings"))


@pytest.mark.parametrize("subject", ["trimtab.projects.p", "trimtab.attributes.k.d.p", ""])
def test_another_subject_is_not_read_as_one_of_a_record(subject: str) -> None:
    with pytest.raises(ValueError, match="is not the subject of a record"):
        subjects.parse_attributes(subject)


def test_names_that_are_too_long_together_are_refused() -> None:
    fits = Scope("d", "p", "w" * 1000, "l" * 1000)
    subjects.attributes("task_resource", fits)
    # Each of these needs six characters.
    with pytest.raises(Invalid, match="at most 2048 bytes together"):
        subjects.attributes("task_resource", Scope("d", "p", "ä" * 400))


def test_a_confirmation_is_found_again_from_its_subject() -> None:
    subject = subjects.prune("east.1", "shop-development")
    assert subject == "trimtab.prunes.east=2E1.shop-development"
    assert subjects.parse_prune(subject) == ("east.1", "shop-development")
    assert subjects.names_of(subject) == "east.1/shop-development"
    with pytest.raises(ValueError, match="not the subject of a confirmation"):
        subjects.parse_prune(subjects.project("shop"))
