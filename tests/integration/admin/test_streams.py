"""Bootstrap: it declares what is missing, reports drift, and never risks the state."""

from dataclasses import dataclass, replace

import pytest
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StreamConfig

from tests.servers import NatsServer
from trimtab.errors import Conflict, Unavailable
from trimtab.messages import subjects
from trimtab.runtime import bus
from trimtab_admin.messaging import streams


@dataclass(frozen=True)
class RawMessage:
    data: bytes
    event_type: str = "test"

    def body(self) -> bytes:
        return self.data


async def config(client: Client, stream: str) -> StreamConfig:
    return (await client.jetstream().stream_info(stream)).config


async def test_bootstrap_declares_every_stream_and_durable(client: Client) -> None:
    jetstream = client.jetstream()
    for wanted in streams.declared():
        name = str(wanted.config.name)
        assert (await config(client, name)).subjects == wanted.config.subjects
        durables = [consumer.name for consumer in await jetstream.consumers_info(name)]
        assert durables == [consumer.durable_name for consumer in wanted.consumers]


async def test_bootstrap_again_changes_and_reports_nothing(client: Client) -> None:
    before = [await config(client, str(each.config.name)) for each in streams.declared()]
    assert await streams.bootstrap(client) == []
    assert [await config(client, str(each.config.name)) for each in streams.declared()] == before


async def test_what_an_operator_changed_is_reported_and_left(client: Client) -> None:
    jetstream = client.jetstream()
    letters = replace(await config(client, subjects.DEAD_LETTERS), max_age=3600.0)
    await jetstream.update_stream(letters)
    durable = await jetstream.consumer_info(subjects.EXECUTIONS, subjects.PROPELLER)
    await jetstream.add_consumer(subjects.EXECUTIONS, durable.config.evolve(max_ack_pending=8))
    assert await streams.bootstrap(client) == [
        "consumer EXECUTIONS/propeller: max_ack_pending is 8, declared is 256",
        "stream DEAD_LETTERS: max_age is 3600.0, declared is 2592000.0",
    ]
    assert (await config(client, subjects.DEAD_LETTERS)).max_age == 3600.0


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"max_age": 3600.0}, "max_age"),
        ({"max_msgs": 100}, "max_msgs"),
        ({"max_bytes": 10_000_000}, "max_bytes"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject"),
        ({"discard": DiscardPolicy.OLD}, "discard"),
    ],
)
@pytest.mark.parametrize("stream", [subjects.SETTINGS, subjects.NAMESPACES])
async def test_a_state_stream_with_other_limits_is_a_conflict(
    client: Client, stream: str, limits: dict[str, object], field: str
) -> None:
    changed = replace(await config(client, stream), **limits)  # type: ignore[arg-type]
    await client.jetstream().update_stream(changed)
    with pytest.raises(Conflict, match=f"stream {stream}: {field} is .* would lose state"):
        await streams.bootstrap(client)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"max_age": 3600.0}, "max_age"),
        ({"max_msgs_per_subject": 5}, "max_msgs_per_subject"),
        ({"discard": DiscardPolicy.OLD}, "discard"),
    ],
)
async def test_limits_under_which_a_log_would_lose_events_are_a_conflict(
    client: Client, limits: dict[str, object], field: str
) -> None:
    changed = replace(await config(client, subjects.EXECUTION_EVENTS), **limits)  # type: ignore[arg-type]
    await client.jetstream().update_stream(changed)
    with pytest.raises(Conflict, match=f"stream EXECUTION_EVENTS: {field} is .* would lose state"):
        await streams.bootstrap(client)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"max_age": 3600.0}, "max_age"),
        ({"discard": DiscardPolicy.OLD}, "discard"),
        ({"allow_rollup_hdrs": False}, "allow_rollup_hdrs"),
    ],
)
async def test_limits_under_which_the_bucket_would_lose_blobs_are_a_conflict(
    client: Client, limits: dict[str, object], field: str
) -> None:
    changed = replace(await config(client, subjects.BLOBS_STREAM), **limits)  # type: ignore[arg-type]
    await client.jetstream().update_stream(changed)
    with pytest.raises(Conflict, match=f"stream OBJ_BLOBS: {field} is .* would lose state"):
        await streams.bootstrap(client)


async def test_streams_of_a_release_without_bounds_are_reported_and_keep_their_messages(
    client: Client,
) -> None:
    jetstream = client.jetstream()
    for name in (subjects.EXECUTION_EVENTS, subjects.DEAD_LETTERS):
        unbounded = replace(await config(client, name), max_bytes=-1, max_msgs=-1, max_age=0.0)
        await jetstream.update_stream(unbounded)
    await jetstream.publish(subjects.dead("EXECUTIONS", "propeller"), b"1")
    drift = await streams.bootstrap(client, events_bytes=2**26)
    assert drift == [
        "stream EXECUTION_EVENTS: max_bytes is -1, declared is 67108864",
        "stream DEAD_LETTERS: max_age is 0.0, declared is 2592000.0",
        "stream DEAD_LETTERS: max_msgs is -1, declared is 10000",
        "stream DEAD_LETTERS: max_bytes is -1, declared is 134217728",
    ]
    assert (await jetstream.stream_info(subjects.DEAD_LETTERS)).state.messages == 1


async def test_a_full_log_stream_refuses_events_and_loses_none(client: Client) -> None:
    jetstream, stream = client.jetstream(), subjects.EXECUTION_EVENTS
    await jetstream.delete_stream(stream)
    await streams.bootstrap(client, events_bytes=2**20)
    subject, body = subjects.events("e1"), b"x" * 2**18
    for _ in range(3):
        await bus.publish(client, stream, subject, RawMessage(body))
    with pytest.raises(Unavailable, match="maximum bytes exceeded"):
        await bus.publish(client, stream, subject, RawMessage(body))
    assert [m.body for m in await bus.read_all(client, stream, subject)] == [body] * 3
    await jetstream.purge_stream(stream, subject=subject)
    await bus.publish(client, stream, subject, RawMessage(body))


async def test_dead_letters_are_bounded_and_the_oldest_are_deleted(client: Client) -> None:
    found = await config(client, subjects.DEAD_LETTERS)
    assert (found.max_msgs, found.max_bytes, found.max_age) == (10_000, 2**27, 30 * 86_400.0)
    assert found.discard == DiscardPolicy.OLD


async def test_a_deleted_durable_or_stream_is_declared_again(client: Client) -> None:
    jetstream = client.jetstream()
    await jetstream.delete_consumer(subjects.EXECUTIONS, subjects.PROPELLER)
    await jetstream.delete_stream(subjects.EXECUTION_EVENTS)
    assert await streams.bootstrap(client) == []
    await jetstream.consumer_info(subjects.EXECUTIONS, subjects.PROPELLER)
    await jetstream.consumer_info(subjects.EXECUTION_EVENTS, subjects.ADMIN)


async def test_a_state_stream_keeps_only_the_last_message_of_each_subject(
    client: Client,
) -> None:
    jetstream = client.jetstream()
    for body in (b"1", b"2", b"3"):
        await jetstream.publish(subjects.domain("development"), body)
        await jetstream.publish(subjects.domain("production"), body)
    state = (await jetstream.stream_info(subjects.SETTINGS)).state
    assert (state.messages, state.last_seq) == (2, 6)


async def test_a_server_that_does_not_run_is_unavailable(
    nats_server: NatsServer, client: Client
) -> None:
    nats_server.stop()
    with pytest.raises(Unavailable, match="NATS did not declare the streams"):
        await streams.bootstrap(client)


async def test_the_subjects_of_a_later_release_are_added_and_messages_stay(client: Client) -> None:
    jetstream = client.jetstream()
    earlier = await config(client, subjects.SETTINGS)
    held = [name for name in earlier.subjects or [] if "prunes" not in name]
    await jetstream.update_stream(replace(earlier, subjects=held))
    await jetstream.publish(subjects.domain("development"), b"{}")
    assert await streams.bootstrap(client) == []
    assert (await config(client, subjects.SETTINGS)).subjects == [*held, "trimtab.prunes.*.*"]
    assert (await jetstream.stream_info(subjects.SETTINGS)).state.messages == 1
