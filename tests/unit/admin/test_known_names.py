"""Names that only another release knows are no errors: their changes are stored and listed."""

from typing import Any

import pytest

from trimtab.api.settings import ChangeBody, ChangesBody, ScopeBody
from trimtab.errors import Unavailable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import LaterChange, RecordChanged
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.settings import known_names


@pytest.fixture
def settings() -> Settings:
    found = Settings()
    found.apply(RecordChanged.at(Scope(), "raw", {"x": 1}), 1)
    for revision, subject in enumerate(
        [subjects.project("later"), subjects.domain("moon"), subjects.attributes("newer", Scope())]
    ):
        found.apply(LaterChange(subject=subject, text="{}"), 2 + revision)
    return found


@pytest.mark.parametrize(
    ("type", "name"),
    [
        ("kind", "raw"),
        ("kind", "newer"),
        ("kind", "task_resource"),
        ("kind", "pool"),
        ("project", "later"),
        ("domain", "moon"),
        ("project", ""),
    ],
)
def test_a_name_of_another_release_is_known(settings: Settings, type: str, name: str) -> None:
    assert known_names._unknown(settings, {type: name}) == []


@pytest.mark.parametrize("type", ["kind", "project", "domain"])
def test_a_name_that_nothing_has_is_unknown(settings: Settings, type: str) -> None:
    assert known_names._unknown(settings, {type: "nope"}) == [(type, "nope")]


async def test_changes_that_are_made_are_returned_where_the_names_cannot_be_read() -> None:
    class Targets:
        async def contain(self, *_: object) -> bool:
            raise Unavailable("the database does not respond")

    unused: Any = None
    targets: Any = Targets()
    names = known_names.KnownNames(unused, unused, unused, targets)
    scope = ScopeBody(level="workflow", domain="development", project="shop", workflow="nightly")
    change = ChangeBody(
        kind="task_resource", scope=scope, action="create", version=0, revision=1, changes=()
    )
    body = ChangesBody(dry_run=False, revision=1, changes=(change,))
    assert await names.with_warnings(ROOT, body) == body
