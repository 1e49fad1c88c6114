"""Whether an acknowledged message survives the loss of power on the host of the NATS server.

With the server's default, JetStream writes a message before it acknowledges it, but syncs its files
to the disk every two minutes only. A single server is the only place of the state of a running
execution, so it should run with ``sync_interval: always``.
"""

import logging
from enum import StrEnum

import nats.errors
from nats.aio.client import Client
from pydantic import BaseModel, ValidationError

log = logging.getLogger(__name__)

_SUBJECT = "$SYS.REQ.SERVER.PING.JSZ"
"""The server's report on JetStream, of its system account, which exports it to the one we use."""
_TIMEOUT_SECONDS = 2.0


class Sync(StrEnum):
    """When the server syncs what it has written to its disk."""

    ALWAYS = "always"
    """Before each acknowledgement."""
    PERIODIC = "periodic"
    """At an interval: what was acknowledged since is lost with the power."""
    UNKNOWN = "unknown"
    """The server's report cannot be read with the account of this connection."""


class _JetStream(BaseModel):
    sync_interval: int
    """Nanoseconds between two syncs."""
    sync_always: bool = False


class _Data(BaseModel):
    config: _JetStream


class _Report(BaseModel):
    """The part of the server's report that is read."""

    data: _Data


async def read_sync(client: Client) -> Sync:
    """Read the setting back from the server, and log a warning where it is not ``always``.

    Of a cluster, the first server that responds counts.
    """
    try:
        reply = await client.request(_SUBJECT, b"{}", timeout=_TIMEOUT_SECONDS)
        jetstream = _Report.model_validate_json(reply.data).data.config
    except (nats.errors.Error, TimeoutError, ValidationError) as error:
        log.info("nats.sync_unknown", extra={"error": f"{type(error).__name__}: {error}"})
        return Sync.UNKNOWN
    if jetstream.sync_always:
        return Sync.ALWAYS
    seconds = jetstream.sync_interval / 1e9
    log.warning("nats.sync_periodic", extra={"interval_seconds": seconds, "wanted": "always"})
    return Sync.PERIODIC
