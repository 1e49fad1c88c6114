"""Statuses of namespaces, parsed where they are read."""

import pytest

from trimtab.messages import parsing, subjects
from trimtab.messages.events import EVENT_ID, EVENT_TYPE, NamespaceStatus
from trimtab.messages.parsing import Foreign
from trimtab.testing import AT

STATUS = NamespaceStatus(
    cluster="c", namespace="n", project="p", domain="d", revision=1, state="ready", at=AT
)
SUBJECT = subjects.namespace("c", "n")
HEADERS = {
    EVENT_ID: "1",
    EVENT_TYPE: STATUS.event_type,
    "ce-specversion": "1.0",
    "ce-source": "trimtab",
}


def test_a_status_is_read_from_the_subject_of_its_names() -> None:
    assert parsing.namespace_status(SUBJECT, HEADERS, STATUS.body()) == STATUS


@pytest.mark.parametrize(
    ("subject", "headers", "body"),
    [
        (subjects.namespace("c", "m"), HEADERS, STATUS.body()),
        (subjects.namespace("b", "n"), HEADERS, STATUS.body()),
        (f"{SUBJECT}.x", HEADERS, STATUS.body()),
        (SUBJECT, HEADERS, STATUS.model_copy(update={"namespace": "n" * 5000}).body()),
        (SUBJECT, HEADERS, STATUS.body().replace(b"ready", b"suspended")),
        (SUBJECT, {**HEADERS, EVENT_TYPE: "trimtab.namespace_status.v2"}, STATUS.body()),
        (SUBJECT, {}, STATUS.body()),
    ],
)
def test_any_other_message_is_foreign(subject: str, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(Foreign):
        parsing.namespace_status(subject, headers, body)
