"""A call: one request of a client, without the types of the protocol that it arrived by. Pure."""

from dataclasses import dataclass

from trimtab_admin.access.authorization import UNAUTHENTICATED, Caller


@dataclass(frozen=True)
class Call:
    """One request of a client. Each door makes it once and passes it to everything behind it."""

    peer: str
    """The address of the client; empty where the transport has none."""
    method: str
    path: str
    request_id: str
    caller: Caller = UNAUTHENTICATED
    door: str = ""
    """The door of Flyte's clients that it arrived by, such as ``grpc``; empty for the API."""
