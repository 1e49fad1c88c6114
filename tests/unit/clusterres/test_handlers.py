"""The namespaces that changes make dirty, and how urgent they are."""

from typing import Any, cast

from trimtab.levels import Scope
from trimtab.messages.events import ClusterChanged, DomainChanged, Event, ProjectChanged
from trimtab.settings.view import Change
from trimtab.testing import record
from trimtab_clusterres.handlers import Handlers
from trimtab_clusterres.queue import Priority, WorkQueue

PROJECTS = [f"p{number}" for number in range(40)]


def handlers(queue: WorkQueue) -> Handlers:
    """Return the handlers of a view with one domain, many projects and no namespace marked."""
    handlers = Handlers(
        cast(Any, None),
        {"east": queue},
        namespace_template="{{ project }}-{{ domain }}",
        stale_after_seconds=30,
        on_layout=lambda: None,
    )
    world: list[Event] = [DomainChanged(name="development"), ClusterChanged(name="east")]
    for revision, event in enumerate([*world, *(ProjectChanged(name=one) for one in PROJECTS)], 1):
        handlers.view.settings.apply(event, revision)
    # A domain that the settings do not have marks nothing, and the layout is computed.
    handlers.on_changes([Change(DomainChanged(name="production"), 100, "")])
    return handlers


def changed(*scopes: Scope) -> list[Change]:
    document = {"attributes": {"cpu": "4"}}
    events = [record(document, kind="cluster_resource", scope=scope) for scope in scopes]
    return [Change(event, 100, "") for event in events]


async def priorities(queue: WorkQueue) -> list[Priority]:
    return [(await queue.take()).priority for _ in range(queue.depth)]


async def test_a_change_of_one_project_is_urgent() -> None:
    queue = WorkQueue()
    handlers(queue).on_changes(changed(Scope("development", "p1")))
    assert await priorities(queue) == [Priority.CHANGE]


async def test_many_small_changes_of_one_transaction_are_a_bulk() -> None:
    queue = WorkQueue()
    scopes = [Scope("development", project) for project in PROJECTS]
    handlers(queue).on_changes(changed(*scopes))
    assert await priorities(queue) == [Priority.BULK] * len(PROJECTS)


async def test_a_reload_is_a_bulk_whatever_it_marks() -> None:
    queue = WorkQueue()
    handlers(queue).on_reload()
    assert set(await priorities(queue)) == {Priority.BULK}
