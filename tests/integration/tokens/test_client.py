"""The client of resmgr with a resmgr of another release."""

from nats.aio.client import Client
from nats.aio.msg import Msg

from trimtab.tokens.protocol import Locate, Located
from trimtab.tokens.resmgr import ResmgrClient


async def test_a_reply_of_a_later_release_is_read_without_its_unknown_fields(
    client: Client,
) -> None:
    async def reply(message: Msg) -> None:
        await message.respond(b'{"pool": "gpu", "cohort": "night", "held": 2, "to_come": {}}')

    await client.subscribe("trimtab.resmgr.locate.default", cb=reply)
    found = await ResmgrClient(client).request(Locate(pool="gpu"), Located)
    assert found == Located(pool="gpu", cohort="night", held=2)
