"""A render that takes long, of a large object, holds up no other namespace and no exit."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest

from tests.servers import PATIENCE_SECONDS
from tests.unit.clusterres.test_namespaces import layout
from trimtab.levels import Scope
from trimtab.messages.events import RecordChanged
from trimtab.templates.files import TemplateSet
from trimtab.templates.manifests import Manifest
from trimtab.templates.rendering import Source
from trimtab.templates.values import ConfiguredValues
from trimtab_clusterres import reconciling
from trimtab_clusterres.reconciling import Reconciler

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  text: {{ text }}
"""


class Templates:
    values = ConfiguredValues()

    async def current(self) -> TemplateSet:
        return TemplateSet((Source("settings.yaml", TEMPLATE),))


class Applied:
    """Keeps the manifests of each namespace."""

    def __init__(self) -> None:
        self.manifests: dict[str, Sequence[Manifest]] = {}

    async def compare(self, namespace: str, manifests: Sequence[Manifest]) -> tuple[()]:
        self.manifests[namespace] = manifests
        return ()


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Make renders of beta block until the event is set."""
    event, render = threading.Event(), reconciling.render

    def blocking(sources: Any, namespace: str, *rest: Any) -> list[Manifest]:
        if namespace.startswith("beta"):
            event.wait(PATIENCE_SECONDS)
        return render(sources, namespace, *rest)

    monkeypatch.setattr(reconciling, "render", blocking)
    yield event
    event.set()


@pytest.fixture
def applied() -> Applied:
    return Applied()


@pytest.fixture
async def reconciler(applied: Applied) -> AsyncIterator[Reconciler]:
    large = RecordChanged.at(
        Scope("development", "beta"), "cluster_resource", {"attributes": {"text": "x" * 100_000}}
    )
    small = RecordChanged.at(Scope(), "cluster_resource", {"attributes": {"text": "x"}})
    found = layout(small, large)
    made = Reconciler(
        "east",
        cast(Any, applied),
        cast(Any, None),
        published=cast(Any, None),
        layout=lambda: found,
        templates=cast(Any, Templates()),
        deadline_seconds=1,
    )
    yield made
    made.close()


async def test_other_namespaces_are_rendered_meanwhile(
    reconciler: Reconciler, applied: Applied, blocked: threading.Event
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        slow = asyncio.create_task(reconciler.compare("beta-development"))
        await asyncio.sleep(0)
        await reconciler.compare("alpha-development")
        assert list(applied.manifests) == ["alpha-development"]
        blocked.set()
        await slow
    assert list(applied.manifests) == ["alpha-development", "beta-development"]


async def test_the_process_does_not_wait_for_it_at_the_exit(
    reconciler: Reconciler, blocked: threading.Event
) -> None:
    slow = asyncio.create_task(reconciler.compare("beta-development"))
    await asyncio.sleep(0)
    [thread] = [each for each in threading.enumerate() if each.name.startswith("render-")]
    assert thread.daemon
    slow.cancel()
    with suppress(asyncio.CancelledError):
        await slow
    blocked.set()
    reconciler.close()
    await asyncio.get_running_loop().run_in_executor(None, thread.join, PATIENCE_SECONDS)
    assert not thread.is_alive()
