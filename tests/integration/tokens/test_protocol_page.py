"""Each example of docs/resmgr-protocol.md is sent verbatim and gets the reply on the page.

``pytest --update-golden`` on this file updates the replies.
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

from tests.integration.resmgr.running import redis_config, started
from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged

PAGE = Path(__file__).parents[3] / "docs" / "resmgr-protocol.md"
SHOWN_HEADERS = ("Nats-Service-Error-Code", "Nats-Service-Error")
VARYING = frozenset(
    {
        "age_seconds",
        "at_seconds",
        "expires_in_seconds",
        "fence",
        "holders_next",
        "id",
        "since_seconds",
        "waited_seconds",
    }
)
"""Fields whose values differ in each run."""
_FENCE = re.compile(r'"fence": ?(\d+)')


class Example:
    """A command of the page and the reply under it."""

    def __init__(self, command: str, reply: str) -> None:
        self.command = command
        self.reply = reply
        self.words = shlex.split(command)
        self.subject, *self.bodies = [word for word in self.words[2:] if word[:2] != "--"]

    @property
    def is_hint(self) -> bool:
        return self.words[1] == "subscribe"


def examples(page: str) -> Iterator[Example]:
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for command, reply in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            yield Example(command, reply)


class NatsCommand:
    """Sends and prints what the ``nats`` command line would."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._hints: dict[str, asyncio.Queue[Msg]] = {}
        self._fences: dict[str, str] = {}
        """The fences of this run by those on the page."""

    @asynccontextmanager
    async def subscribed(self, all_examples: list[Example]) -> AsyncIterator[None]:
        for example in all_examples:
            if example.is_hint:
                queue: asyncio.Queue[Msg] = asyncio.Queue()
                self._hints[example.subject] = queue
                await self._client.subscribe(example.subject, cb=queue.put)
        yield

    async def run(self, example: Example) -> str:
        if example.is_hint:
            async with asyncio.timeout(PATIENCE_SECONDS):
                message = await self._hints[example.subject].get()
        else:
            [body] = example.bodies
            message = await self._client.request(
                example.subject, self._body(body), timeout=PATIENCE_SECONDS
            )
        text = message.data.decode()
        expected, actual = _FENCE.search(example.reply), _FENCE.search(text)
        if expected and actual:
            self._fences.setdefault(expected[1], actual[1])
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
    """Return headers and body; values that vary are replaced by their types."""
    headers, _, body = text.rpartition("\n\n")
    return headers, _replace_varying(json.loads(body))


def _replace_varying(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: (type(v).__name__ if key in VARYING and v is not None else _replace_varying(v))
                for key, v in value.items()
            }
        case list():
            return [_replace_varying(each) for each in value]
        case _:
            return value


async def test_every_example_gets_the_reply_on_the_page(
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
    found, command = list(examples(page)), NatsCommand(client)
    replies = []
    async with started(redis_config(nats_server, valkey_server)), command.subscribed(found):
        for example in found:
            replies.append(await command.run(example))
    if update_golden:
        PAGE.write_text(update_page(page, found, replies))
        return
    for example, reply in zip(found, replies, strict=True):
        assert comparable(reply) == comparable(example.reply), example.command


def update_page(page: str, found: list[Example], replies: list[str]) -> str:
    """Return the page with these replies."""
    for example, reply in zip(found, replies, strict=True):
        before, _, after = page.partition(f"$ {example.command}\n{example.reply}")
        page = f"{before}\0{example.command}\n{reply}{after}"
    return page.replace("\0", "$ ")


def test_every_operation_has_an_example() -> None:
    subjects = {example.subject for example in examples(PAGE.read_text())}
    operations = "allocate batch force_release inspect locate pools reassert recount register"
    for operation in f"{operations} release renew reprioritize".split():
        assert f"trimtab.resmgr.{operation}.default" in subjects
