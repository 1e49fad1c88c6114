"""Write requests: what is checked without the settings, and that it is checked once."""

import pytest

from trimtab import kinds
from trimtab.api.settings import DocumentBody
from trimtab.errors import Invalid, NotFound
from trimtab.levels import PLATFORM, Scope
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.settings.preconditions import Absent, AnyVersion, Version
from trimtab_admin.settings.requests import (
    ApplyDocuments,
    Document,
    Label,
    PreparedRequest,
    PutEntity,
    PutRecord,
)
from trimtab_admin.settings.writing import make_draft
from trimtab_admin.steps import at_once

KIND = kinds.by_name("task_resource")


def put(scope: Scope = PLATFORM, cpu: str = "1") -> PutRecord:
    return PutRecord(KIND, scope, {"limits": {"cpu": cpu}}, AnyVersion())


@pytest.mark.parametrize(
    "request_",
    [
        put(),
        ApplyDocuments((DocumentBody(kind=KIND.name, document={"limits": {"cpu": "1"}}),)),
    ],
)
def test_drafts_of_several_tries_share_one_parsed_document(request_: PreparedRequest) -> None:
    [first], [second] = (
        at_once(make_draft(Settings(), request_, ROOT)).records.values() for _ in range(2)
    )
    assert first.after is not None
    assert second.after is not None
    assert first.after.flat is second.after.flat


def test_an_unknown_scope_is_reported_before_an_invalid_document() -> None:
    with pytest.raises(NotFound, match="shop"):
        at_once(make_draft(Settings(), put(Scope(project="shop"), cpu="x"), ROOT))
    with pytest.raises(Invalid, match=r"limits\.cpu"):
        at_once(make_draft(Settings(), put(cpu="x"), ROOT))


@pytest.mark.parametrize(
    ("version", "precondition"), [(None, AnyVersion()), (0, Absent()), (7, Version(7))]
)
def test_the_version_of_a_document_is_its_precondition(
    version: int | None, precondition: object
) -> None:
    for body in (
        DocumentBody(kind=KIND.name, document={}, version=version),
        DocumentBody(kind="domain", name="canary", document={}, version=version),
    ):
        assert Document(0, body).request.precondition == precondition


def test_a_document_of_an_entity_is_parsed_once() -> None:
    document = Document(0, DocumentBody(kind="pool", name="gpu", document={"quota": 4}))
    request = document.request
    assert isinstance(request, PutEntity)
    assert (request.body.name, request is document.request) == ("gpu", True)


def test_prune_takes_a_label_with_a_value() -> None:
    assert Label.parse("owner=team-a") == ("owner", "team-a")
    assert ApplyDocuments(()).label is None
    for text in ("owner", "owner=", "=team-a", "owner=a b"):
        with pytest.raises(Invalid, match="owner=team-a"):
            Label.parse(text)
