"""Bootstrap: it declares what is missing, reports drift, and never risks the state."""

from dataclasses import replace

import pytest
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StreamConfig

from tests.servers import NatsServer
from trimtab.errors import Conflict, Unavailable
from trimtab.messages import subjects
from trimtab_admin.messaging import streams


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
        "stream DEAD_LETTERS: max_age is 3600.0, declared is 0",
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
    with pytest.raises(Conflict, match=f"stream {stream}: {field} is .* would lose settings"):
        await streams.bootstrap(client)


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
