"""Steps: however many documents and records a request has, a pause follows a bounded part."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from trimtab import kinds
from trimtab.api.settings import DocumentBody
from trimtab.kinds import Problem
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import DomainChanged, ProjectChanged, RecordChanged
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import steps
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.settings import blast_radius, documents
from trimtab_admin.settings.comparison import Comparison, Groups, first_violation
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.requests import ApplyDocuments
from trimtab_admin.storage import namespace_names
from trimtab_admin.storage.outbox import Write

KIND = kinds.by_name("task_resource")
PROJECTS, WORKFLOWS = 20, 30
DOCUMENT = {"limits": {"cpu": "2"}}


def stored() -> Settings:
    settings = Settings()
    settings.apply(DomainChanged(name="dev"), 1)
    for project in range(PROJECTS):
        settings.apply(ProjectChanged(name=f"p{project}"), 2)
        for workflow in range(WORKFLOWS):
            scope = Scope("dev", f"p{project}", f"w{workflow}")
            event = RecordChanged.at(scope, KIND.name, {"defaults": {"cpu": "1"}}, {"owner": "me"})
            settings.apply(event, 3)
    return settings


def request(prune: str = "") -> ApplyDocuments:
    """Return a request that writes every record but those of the first project."""
    return ApplyDocuments(
        tuple(
            DocumentBody(
                kind=KIND.name,
                domain="dev",
                project=f"p{project}",
                workflow=f"w{workflow}",
                document=DOCUMENT,
            )
            for project in range(1, PROJECTS)
            for workflow in range(WORKFLOWS)
        ),
        prune,
    )


def test_a_result_is_complete_and_each_pause_comes_after_as_many_items() -> None:
    seen: list[int] = []

    def double(item: int) -> int:
        seen.append(item)
        return item * 2

    assert [len(seen) for _ in steps.each(double, range(7), 3)] == [3, 6]
    assert steps.at_once(steps.each(double, range(7), 3)) == [0, 2, 4, 6, 8, 10, 12]


def test_documents_are_put_into_a_draft_in_slices() -> None:
    draft, before = Draft(stored()), 0
    for _ in documents.apply(draft, request(), ROOT):
        assert 0 < len(draft.records) - before <= steps.SIZE
        before = len(draft.records)
    assert before > len(draft.records) - steps.SIZE > 0


def test_a_prune_among_all_records_deletes_those_without_a_document() -> None:
    draft = Draft(stored())
    steps.at_once(documents.apply(draft, request("owner=me"), ROOT))
    gone = [edit.scope.project for edit in draft.records.values() if edit.after is None]
    assert gone == ["p0"] * WORKFLOWS


def test_a_change_is_judged_in_slices_of_targets() -> None:
    judged = 0

    def validate(_flat: Mapping[str, Any]) -> tuple[Problem, ...]:
        nonlocal judged
        judged += 1
        return ()

    counted = replace(KIND, validate=validate)
    settings = stored()
    draft = Draft(settings)
    steps.at_once(documents.apply(draft, request(), ROOT))
    edits = {edit.scope: edit.after for edit in draft.records.values()}
    for groups in (Groups(settings.by_project_domain[KIND.name], {}), None):
        before = judged = 0
        comparison = Comparison(counted, settings.records[KIND.name], edits, groups)
        pauses = 0
        for _ in first_violation(comparison):
            assert judged - before <= steps.SIZE
            before = judged
            pauses += 1
        assert judged - before <= steps.SIZE
        assert judged == len(edits)
        # All targets are looked at before any is judged.
        assert pauses >= 2 * (judged // steps.SIZE)


def test_targets_of_many_scopes_are_found_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LIGHT", steps.SIZE)
    broad = [*(Scope(f"d{n}") for n in range(20)), *(Scope("", f"p{n}") for n in range(20))]
    narrow = [Scope("dev", f"p{n}") for n in range(4 * steps.SIZE)]
    for scopes, groups in ((broad, None), (narrow, Groups({}, {})), (narrow, None)):
        edits = {scope: Record.of(KIND, scope, 0, DOCUMENT) for scope in scopes}
        comparison = Comparison(KIND, {}, edits, groups)
        pauses = sum(1 for _ in comparison.changed_targets())
        # The scopes or their 400 combinations, and then their values.
        assert pauses >= 2 * (400 // steps.SIZE)


def test_the_access_to_documents_is_checked_in_slices() -> None:
    wanted = request()
    pauses = sum(1 for _ in documents.check_access(wanted, ROOT))
    assert pauses >= len(wanted.documents) // steps.SIZE


def test_a_blast_radius_is_computed_in_slices() -> None:
    draft = Draft(stored())
    steps.at_once(documents.apply(draft, request(), ROOT))
    registered = [Scope("dev", f"p{project}", "w1") for project in range(PROJECTS)] * 50
    work = blast_radius.compute(draft, registered, "{{ project }}-{{ domain }}")
    pauses = sum(1 for _ in work)
    assert pauses >= len(registered) // steps.SIZE


def test_the_names_of_namespaces_are_computed_in_slices() -> None:
    settings = Settings()
    for number in range(10):
        settings.apply(DomainChanged(name=f"d{number}"), 1)
    settings.apply(ProjectChanged(name="p0"), 2)
    events = [ProjectChanged(name=f"p{number}") for number in range(1, 50)]
    writes = [Write(subjects.project(event.name), event) for event in events]
    work = namespace_names.compute(settings, writes, "{{ project }}-{{ domain }}")
    assert sum(1 for _ in work) == 500 // steps.SIZE
    again = namespace_names.compute(settings, writes, "{{ project }}-{{ domain }}")
    assert len(steps.at_once(again)) == 500
