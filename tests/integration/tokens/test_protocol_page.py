"""docs/resmgr-protocol.md: each of its examples is sent as it stands, and answered as it says.

``pytest --update-golden`` on this file writes the answers anew.
"""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.integration.resmgr.running import limiting, started
from tests.servers import NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged

PAGE = Path(__file__).parents[3] / "docs" / "resmgr-protocol.md"
SHOWN_HEADERS = ("Nats-Service-Error-Code", "Nats-Service-Error")
VARYING = frozenset(
    {"age_seconds", "at_seconds", "expires_in_seconds", "fence", "id", "waited_seconds"}
)
"""What is another number each time."""
_FENCE = re.compile(r'"fence": ?(\d+)')


class Example:
    """A command of the page and the text under it."""

    def __init__(self, command: str, answer: str) -> None:
        self.command = command
        self.answer = answer
        self.words = shlex.split(command)
        self.subject, *self.bodies = [word for word in self.words[2:] if word[:2] != "--"]

    @property
    def is_hint(self) -> bool:
        return self.words[1] == "subscribe"


def examples(page: str) -> Iterator[Example]:
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for command, answer in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            yield Example(command, answer)


class Speaker:
    """What the ``nats`` command line sends and prints."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._hints: dict[str, asyncio.Queue[Msg]] = {}
        self._fences: dict[str, str] = {}
        """Those of the page, and what they are in this run."""

    @asynccontextmanager
    async def listening(self, all_examples: list[Example]) -> AsyncIterator[None]:
        for example in all_examples:
            if example.is_hint:
                queue: asyncio.Queue[Msg] = asyncio.Queue()
                self._hints[example.subject] = queue
                await self._client.subscribe(example.subject, cb=queue.put)
        yield

    async def run(self, example: Example) -> str:
        if example.is_hint:
            async with asyncio.timeout(20):
                message = await self._hints[example.subject].get()
        else:
            [body] = example.bodies
            message = await self._client.request(example.subject, self._body(body), timeout=20)
        text = message.data.decode()
        told, is_so = _FENCE.search(example.answer), _FENCE.search(text)
        if told and is_so:
            self._fences.setdefault(told[1], is_so[1])
        for on_page, now in self._fences.items():
            text = text.replace(now, on_page)
        headers = message.headers or {}
        shown = [f"{name}: {headers[name]}" for name in SHOWN_HEADERS if name in headers]
        return "\n".join([*shown, "", text] if shown else [text]) + "\n"

    def _body(self, body: str) -> bytes:
        for on_page, now in self._fences.items():
            body = body.replace(on_page, now)
        return body.encode()


def comparable(text: str) -> Any:
    """Headers and body, without what varies."""
    headers, _, body = text.rpartition("\n\n")
    return headers, _steady(json.loads(body))


def _steady(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: (type(v).__name__ if key in VARYING and v is not None else _steady(v))
                for key, v in value.items()
            }
        case list():
            return [_steady(each) for each in value]
        case _:
            return value


async def test_every_example_is_answered_as_the_page_says(
    nats_server: NatsServer,
    valkey_server: ValkeyServer,
    client: Client,
    settings_stream: SettingsStream,
    update_golden: bool,
) -> None:
    await settings_stream.announce(
        PoolChanged(name="gpu", quota=10), PoolChanged(name="licence", quota=1)
    )
    page = PAGE.read_text()
    found, speaker = list(examples(page)), Speaker(client)
    answers = []
    async with started(limiting(nats_server, valkey_server)), speaker.listening(found):
        for example in found:
            answers.append(await speaker.run(example))
    if update_golden:
        PAGE.write_text(filled(page, found, answers))
        return
    for example, answer in zip(found, answers, strict=True):
        assert comparable(answer) == comparable(example.answer), example.command


def filled(page: str, found: list[Example], answers: list[str]) -> str:
    """The page with these answers."""
    for example, answer in zip(found, answers, strict=True):
        before, _, after = page.partition(f"$ {example.command}\n{example.answer}")
        page = f"{before}\0{example.command}\n{answer}{after}"
    return page.replace("\0", "$ ")


def test_every_operation_has_an_example() -> None:
    subjects = {example.subject for example in examples(PAGE.read_text())}
    operations = "allocate audit batch force_release inspect reassert register release renew"
    for operation in f"{operations} reprioritize".split():
        assert f"trimtab.resmgr.{operation}.default" in subjects
