"""Declares the streams and durable consumers of Trimtab, and reports how a server's differ.

A stream that holds state would lose it without an error under some other limits, so `bootstrap`
raises `Conflict` for these. Subjects that a later release has in addition are added. Any other
difference is drift: it is logged and left as it is, because a server that applies a lower limit
deletes the oldest messages.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from trimtab.errors import Conflict, Unavailable
from trimtab.messages import subjects

log = logging.getLogger(__name__)

ACK_WAIT_SECONDS = 5.0
"""Redeliver a message that no consumer has acknowledged or marked in progress for so long.

`trimtab.runtime.deliveries` marks messages in progress every second. When a process is killed, its
messages wait for this time. A consumer that receives one again finds its effect already stored.
"""
_DUPLICATE_WINDOW_SECONDS = 600.0
# Most are the server's own defaults. They are declared, so that each can be compared.
_DEFAULT_LIMITS: dict[str, object] = {
    "max_msgs_per_subject": -1,
    "max_age": 0,
    "discard": DiscardPolicy.OLD,
    "max_msgs": -1,
    "max_bytes": -1,
    "retention": RetentionPolicy.LIMITS,
    "allow_rollup_hdrs": False,
}


EVENTS_BYTES = 2**30
"""The size of EXECUTION_EVENTS, which the server reserves.

A full stream refuses events, and propeller tries again until logs of ended executions were removed:
nothing is lost, but executions wait.
"""
_DEAD_LETTERS: dict[str, object] = {
    "max_msgs": 10_000,
    "max_bytes": 128 * 2**20,
    "max_age": timedelta(days=30).total_seconds(),
}
"""The oldest dead letters are deleted: rejected messages must not fill the disk."""
BLOBS_BYTES = 2**30
"""The size of the bucket of blobs, which the server reserves. A full one refuses uploads."""
_NEVER_OTHERWISE = frozenset({"max_age", "max_msgs_per_subject", "discard"})
"""Limits of EXECUTION_EVENTS under which a log would lose events without an error."""
_OF_BLOBS = _NEVER_OTHERWISE | {"allow_rollup_hdrs"}
"""Limits under which the bucket would lose blobs, or refuse every upload."""


@dataclass(frozen=True)
class DeclaredStream:
    """A stream and the durable consumers on it."""

    config: StreamConfig
    guarded: frozenset[str] = frozenset()
    """Limits that must be as declared, because the stream would lose state otherwise."""
    consumers: tuple[ConsumerConfig, ...] = ()


def declared(replicas: int = 1, events_bytes: int = EVENTS_BYTES) -> tuple[DeclaredStream, ...]:
    """Return the streams that Trimtab needs, with their consumers."""

    def stream(name: str, names: list[str], **limits: object) -> StreamConfig:
        return StreamConfig(
            name=name,
            subjects=names,
            storage=StorageType.FILE,
            num_replicas=replicas,
            duplicate_window=_DUPLICATE_WINDOW_SECONDS,
            **{**_DEFAULT_LIMITS, **limits},  # type: ignore[arg-type]  # fields of the dataclass
        )

    def durable(name: str, subject: str) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=name,
            filter_subject=subject,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_SECONDS,
            # The outcome of the handler decides about redelivery, not the number of deliveries.
            max_deliver=-1,
            max_ack_pending=256,
        )

    state = {"max_msgs_per_subject": 1, "max_age": 0, "discard": DiscardPolicy.NEW}
    settings = [
        "trimtab.attributes.>",
        "trimtab.projects.*",
        "trimtab.domains.*",
        "trimtab.clusters.*",
        "trimtab.pools.*",
        "trimtab.queues.*",
        "trimtab.prunes.*.*",
        subjects.WATERMARK,
    ]
    events = [subjects.ALL_EVENTS, subjects.ALL_COMMANDS]
    requests = stream(
        subjects.EXECUTIONS, [subjects.ALL_REQUESTED], retention=RetentionPolicy.WORK_QUEUE
    )
    logs = stream(
        subjects.EXECUTION_EVENTS, events, discard=DiscardPolicy.NEW, max_bytes=events_bytes
    )
    namespaces = stream(subjects.NAMESPACES, [subjects.ALL_NAMESPACES], **state)
    # Propellers read the requests without a consumer; those of earlier releases need this one.
    to_propeller = durable(subjects.PROPELLER, subjects.ALL_REQUESTED)
    to_admin = durable(subjects.ADMIN, subjects.ALL_EVENTS)
    blobs = stream(
        subjects.BLOBS_STREAM,
        [subjects.blob_chunks(">"), subjects.blob_info(">")],
        discard=DiscardPolicy.NEW,
        max_bytes=BLOBS_BYTES,
        allow_rollup_hdrs=True,
        allow_direct=True,
    )
    all_limits = frozenset(_DEFAULT_LIMITS) - {"allow_rollup_hdrs"}
    return (
        DeclaredStream(stream(subjects.SETTINGS, settings, **state), all_limits),
        DeclaredStream(namespaces, all_limits),
        DeclaredStream(requests, consumers=(to_propeller,)),
        DeclaredStream(logs, _NEVER_OTHERWISE, (to_admin,)),
        DeclaredStream(blobs, _OF_BLOBS),
        DeclaredStream(stream(subjects.DEAD_LETTERS, ["trimtab.dead.>"], **_DEAD_LETTERS)),
    )


async def bootstrap(
    client: Client, replicas: int = 1, events_bytes: int = EVENTS_BYTES
) -> list[str]:
    """Create the streams and consumers that are missing; return a line for each difference.

    Raises `Conflict` for a stream with limits under which it would lose state, and `Unavailable`.
    """
    drift: list[str] = []
    jetstream = client.jetstream(timeout=5.0)
    try:
        for wanted in declared(replicas, events_bytes):
            drift += await _ensure_stream(jetstream, wanted)
            for consumer in wanted.consumers:
                drift += await _ensure_consumer(jetstream, str(wanted.config.name), consumer)
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"NATS did not declare the streams: {error}") from error
    for line in drift:
        log.warning("streams.drift", extra={"difference": line})
    return drift


async def _ensure_stream(jetstream: JetStreamContext, wanted: DeclaredStream) -> list[str]:
    name = str(wanted.config.name)
    try:
        found = (await jetstream.stream_info(name)).config
    except nats.js.errors.NotFoundError:
        await jetstream.add_stream(wanted.config)
        return []
    drift = []
    for field in _DEFAULT_LIMITS:
        want, have = _plain(getattr(wanted.config, field)), _plain(getattr(found, field))
        if want == have:
            continue
        line = f"stream {name}: {field} is {have}, declared is {want}"
        if field in wanted.guarded:
            raise Conflict(f"{line}; with other limits the stream would lose state")
        drift.append(line)
    return drift + await _ensure_subjects(jetstream, wanted.config, found)


async def _ensure_subjects(
    jetstream: JetStreamContext, wanted: StreamConfig, found: StreamConfig
) -> list[str]:
    """Add the subjects that the stream of an earlier release lacks, because it refuses them."""
    held, want = found.subjects or [], wanted.subjects or []
    if missing := [name for name in want if name not in held]:
        await jetstream.update_stream(found.evolve(subjects=[*held, *missing]))
        log.info("streams.extended", extra={"stream": wanted.name, "subjects": missing})
    if set(held) <= set(want):
        return []
    return [f"stream {wanted.name}: subjects is {sorted(held)}, declared is {sorted(want)}"]


async def _ensure_consumer(
    jetstream: JetStreamContext, stream: str, wanted: ConsumerConfig
) -> list[str]:
    name = str(wanted.durable_name)
    try:
        found = (await jetstream.consumer_info(stream, name)).config
    except nats.js.errors.NotFoundError:
        await jetstream.add_consumer(stream, wanted)
        return []
    return [
        f"consumer {stream}/{name}: {field} is {have}, declared is {want}"
        for field in ("filter_subject", "ack_wait", "max_deliver", "max_ack_pending")
        if (want := getattr(wanted, field)) != (have := getattr(found, field))
    ]


def _plain(value: object) -> object:
    """Return a value in the form in which a declared and a returned one can be compared."""
    if isinstance(value, list):
        return sorted(value)
    value = getattr(value, "value", value)
    return 0 if value is None else value
