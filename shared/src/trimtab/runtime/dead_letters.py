"""Dead letters: copies of messages that a consumer rejected, with the reason."""

import re
from collections.abc import Mapping

from nats.aio.client import Client

from trimtab.messages import subjects
from trimtab.messages.events import DEAD_REASON, DEAD_SUBJECT
from trimtab.runtime.bus import TIMEOUT_SECONDS

_REASON_CHARACTERS = 1000
_HEADERS_BYTES = 8192
"""Room for the headers of a dead letter, which count as part of a message."""
_KEPT_BYTES = 3072
"""The largest headers of a message that its copy keeps: the reason and a subject have to fit."""
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""The names that a header can be published with; a foreign message may have others."""


async def copy(
    client: Client,
    *,
    stream: str,
    consumer: str,
    subject: str,
    headers: Mapping[str, str] | None,
    body: bytes,
    reason: str,
) -> None:
    """Store a copy of a rejected message. The caller removes the message afterwards.

    In this order a crash in between leaves both, not none. The body of a message that is too large
    for the additional headers is cut off, and the reason notes it. Raises errors of nats-py.
    """
    # NATS's own headers, such as the message id, would keep the copy from being stored.
    kept = {
        name: value
        for name, value in (headers or {}).items()
        if _HEADER_NAME.fullmatch(name) and not name.lower().startswith("nats-")
    }
    if sum(len(name) + len(value.encode()) for name, value in kept.items()) > _KEPT_BYTES:
        kept = {}
    room = client.max_payload - _HEADERS_BYTES
    if len(body) > room:
        reason = f"(the copy has the first {room} bytes of {len(body)}) {reason}"
    kept[DEAD_REASON] = " ".join(reason.split())[:_REASON_CHARACTERS]
    kept[DEAD_SUBJECT] = subject
    await client.jetstream(timeout=TIMEOUT_SECONDS).publish(
        subjects.dead(stream, consumer), body[:room], headers=kept
    )
