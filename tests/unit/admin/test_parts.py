"""Documents in parts: no part is refused where all of them together are valid."""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trimtab.api.settings import MAX_DOCUMENTS, DocumentBody
from trimtab.cli import parts
from trimtab.errors import Invalid
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.settings.requests import ApplyDocuments
from trimtab_admin.settings.writing import make_draft
from trimtab_admin.steps import at_once

DOMAINS, PROJECTS, WORKFLOWS = ("development", "production"), ("old", "shop", "web"), ("a", "b")
CPU = st.dictionaries(
    st.sampled_from(["defaults", "limits"]),
    st.sampled_from(["1", "2", "3"]).map(lambda cpu: {"cpu": cpu}),
    min_size=1,
)


def entities() -> list[DocumentBody]:
    return [
        *(DocumentBody(kind="domain", name=name, document={}) for name in DOMAINS),
        *(
            DocumentBody(
                kind="project",
                name=name,
                document={"state": "archived" if name == "old" else "active"},
            )
            for name in PROJECTS
        ),
    ]


@st.composite
def records(draw: st.DrawFn) -> DocumentBody:
    domain, project = draw(st.sampled_from(["", *DOMAINS])), draw(st.sampled_from(["", *PROJECTS]))
    workflow = draw(st.sampled_from(["", *WORKFLOWS])) if domain and project else ""
    plan = draw(st.sampled_from(["", "nightly"])) if workflow else ""
    return DocumentBody(
        kind="task_resource",
        domain=domain,
        project=project,
        workflow=workflow,
        launch_plan=plan,
        document=draw(CPU),
    )


def scope(body: DocumentBody) -> tuple[str, ...]:
    return body.domain, body.project, body.workflow, body.launch_plan


def apply(settings: Settings, documents: Sequence[DocumentBody]) -> None:
    draft = at_once(make_draft(settings, ApplyDocuments(tuple(documents)), ROOT))
    at_once(draft.check())
    for edit in draft.edits:
        if edit.action != "none":
            settings.apply(edit.event(), settings.revision + 1)


@given(st.lists(records(), max_size=12, unique_by=scope), st.integers(1, 6), st.randoms())
def test_what_is_valid_together_is_valid_in_parts_and_again(
    found: list[DocumentBody], most: int, random: object
) -> None:
    documents = [*entities(), *found]
    random.shuffle(documents)  # type: ignore[attr-defined]  # hypothesis has no type for it
    whole = Settings()
    try:
        apply(whole, documents)
    except Invalid:
        assume(False)
    in_parts = Settings()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_DOCUMENTS", most)
        planned = parts.split(documents)
    assert sorted(index for part in planned for index in part) == list(range(len(documents)))
    for part in (*planned, *planned):
        apply(in_parts, [documents[index] for index in part])
    assert in_parts.revision == len(documents)
    assert in_parts.digest.count == whole.digest.count == len(documents)


def test_a_part_is_limited_by_its_documents_and_by_their_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    documents = [
        DocumentBody(kind="workflow_priority", domain=f"d{number}", document={"priority": number})
        for number in range(100)
    ]
    assert [len(part) for part in parts.split(documents)] == [100]
    monkeypatch.setattr(parts, "PART_DOCUMENTS", 30)
    assert [len(part) for part in parts.split(documents)] == [30, 30, 30, 10]
    monkeypatch.setattr(parts, "PART_BYTES", 10 * len(documents[0].model_dump_json()) + 20)
    assert max(len(part) for part in parts.split(documents)) == 10


def test_parts_are_needed_for_more_documents_or_bytes_than_a_transaction_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = DocumentBody(kind="domain", name="d", document={})
    assert not parts.are_needed([one] * MAX_DOCUMENTS)
    assert parts.are_needed([one] * (MAX_DOCUMENTS + 1))
    monkeypatch.setattr(parts, "MAX_BYTES", len(one.model_dump_json()))
    assert not parts.are_needed([one])
    assert parts.are_needed([one, one])
