"""Doors: other APIs on admin's HTTP port, each with paths, authentication and errors of its own."""

from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from trimtab.errors import TrimtabError


class Door(Protocol):
    """An ASGI application whose requests have passed the same middleware as those of the API.

    ``scope["state"]["call"]`` is the authenticated call. The door sets ``scope["route"]`` to an
    object with the template of the path as ``path``, for metrics and traces.
    """

    @property
    def name(self) -> str:
        """The name of the door in the configuration of anonymous access."""

    def serves(self, path: str) -> bool: ...

    def is_open(self, scope: Scope) -> bool:
        """Return whether the request needs no API token, because it discloses nothing."""

    def error(self, scope: Scope, error: TrimtabError) -> ASGIApp:
        """Return the response for an error before the door, or an unexpected one within it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...
