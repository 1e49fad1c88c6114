"""Dead letters: copies of messages that a consumer rejected, with the reason."""

from collections.abc import Mapping

from nats.aio.client import Client

from trimtab.messages import subjects
from trimtab.messages.events import DEAD_REASON, DEAD_SUBJECT
from trimtab.runtime.bus import TIMEOUT_SECONDS

_REASON_CHARACTERS = 1000
_HEADERS_BYTES = 8192
"""Room for the headers of a dead letter, which count as part of a message."""


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
    kept = {k: v for k, v in (headers or {}).items() if not k.startswith("Nats-")}
    room = client.max_payload - _HEADERS_BYTES
    if len(body) > room:
        reason = f"(the copy has the first {room} bytes of {len(body)}) {reason}"
    kept[DEAD_REASON] = " ".join(reason.split())[:_REASON_CHARACTERS]
    kept[DEAD_SUBJECT] = subject
    await client.jetstream(timeout=TIMEOUT_SECONDS).publish(
        subjects.dead(stream, consumer), body[:room], headers=kept
    )
