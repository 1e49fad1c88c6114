"""Templates are read once for all namespaces, and again where they change."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Rejected, Unavailable
from trimtab.templates.files import TemplateSet
from trimtab.templates.values import ConfiguredValues, TemplateValue
from trimtab_clusterres.watching import template_watch
from trimtab_clusterres.watching.template_watch import TemplateWatch

LONG_AGO = 1_600_000_000
OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "templates"
    path.mkdir()
    write(path, *"abcd")
    return path


def write(directory: Path, *names: str, text: str = OBJECT) -> None:
    """Leave these templates in the directory, and no others."""
    for path in directory.iterdir():
        path.unlink()
    for name in names:
        (directory / f"{name}.yaml").write_text(text.format(name))
    for path in (*directory.iterdir(), directory):  # old enough not to be waited for
        os.utime(path, (LONG_AGO + len(names), LONG_AGO + len(names)))


class Following:
    """A watch that runs, and how often it reported a change."""

    def __init__(self, directory: Path, deadline_seconds: float) -> None:
        self.watch = TemplateWatch(
            [directory], deadline_seconds=deadline_seconds, poll_seconds=0.005
        )
        self.changes = 0
        self._changed = asyncio.Event()

    def on_change(self) -> None:
        self.changes += 1
        self._changed.set()

    async def next_change(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._changed.wait()
        self._changed.clear()

    async def current(self) -> TemplateSet:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.watch.current()

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def following(
    directory: Path, deadline_seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[Following]:
    found = Following(directory, deadline_seconds)
    running = asyncio.create_task(found.watch.follow(found.on_change))
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_one_set_is_used_until_a_file_changes(directory: Path) -> None:
    async with following(directory) as found:
        first = await found.current()
        assert await found.current() is first
        write(directory, *"abcde")
        await found.next_change()
        assert [file for file, _ in (await found.current()).sources] == [
            f"{name}.yaml" for name in "abcde"
        ]
    assert found.changes == 1


async def test_a_file_that_is_only_touched_is_no_change(directory: Path) -> None:
    async with following(directory) as found:
        first = await found.current()
        os.utime(directory / "a.yaml", (LONG_AGO + 100, LONG_AGO + 100))
        await found.until(lambda: found.watch._set is not first)
    assert found.changes == 0


@pytest.mark.parametrize(
    ("names", "text", "reason"),
    [
        ("", OBJECT, r"contain no \*\.yaml file"),
        ("a", OBJECT, "the templates have 1 objects and had 4"),
        ("abcd", "kind: [", "template a.yaml line 1: not YAML"),
    ],
)
async def test_a_set_that_is_unusable_is_refused_until_it_is_mended(
    directory: Path, names: str, text: str, reason: str
) -> None:
    async with following(directory) as found:
        first = await found.current()
        write(directory, *names, text=text)
        await found.next_change()
        with pytest.raises(Rejected, match=reason):
            await found.current()
        write(directory, *"abcd")
        await found.next_change()
        assert (await found.current()).digest == first.digest


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While it is not set, directories do not answer."""
    answer = threading.Event()
    look = template_watch.look

    def wait_and_look(directories: tuple[Path, ...]) -> object:
        answer.wait()
        return look(directories)

    monkeypatch.setattr(template_watch, "look", wait_and_look)
    yield answer
    answer.set()


async def test_directories_that_do_not_answer_at_the_start_are_reported(
    directory: Path, stuck: threading.Event
) -> None:
    async with following(directory, deadline_seconds=0.02) as found:
        with pytest.raises(Unavailable, match="do not answer for 0 s"):
            await found.current()
        assert str(directory) in found.watch.blocked
        stuck.set()
        await found.next_change()
        assert not found.watch.blocked
        assert len((await found.current()).sources) == 4


async def test_the_last_set_stays_in_use_while_directories_do_not_answer(
    directory: Path, stuck: threading.Event
) -> None:
    stuck.set()
    async with following(directory, deadline_seconds=0.02) as found:
        first = await found.current()
        stuck.clear()
        await found.until(lambda: found.watch.blocked)
        assert await found.current() is first
        stuck.set()
        await found.until(lambda: not found.watch.blocked)
    assert found.changes == 0


async def test_a_secret_that_is_rotated_counts_as_a_change(directory: Path) -> None:
    values = ConfiguredValues({"token": TemplateValue("old")})
    watch = TemplateWatch([directory], lambda: values, deadline_seconds=1, poll_seconds=0.005)
    changed = asyncio.Event()
    following = asyncio.create_task(watch.follow(changed.set))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await watch.current()
            assert watch.values == values
            values = ConfiguredValues({"token": TemplateValue("new")})
            await changed.wait()
            assert watch.values == values
    finally:
        following.cancel()
        await asyncio.wait((following,))
