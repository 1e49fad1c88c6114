"""A client of the gRPC door that sends and receives bytes."""

from collections.abc import Sequence
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from tests.integration.admin.running import TOKEN
from tests.servers import PATIENCE_SECONDS

ADMIN = "/flyteidl.service.AdminService"
BEARER = (("authorization", f"Bearer {TOKEN}"),)


class GrpcClient:
    """Calls methods by their paths. pytest keeps it, so it has no channel after its context."""

    def __init__(
        self,
        port: int | None,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.port = port
        self._options = options
        self._address = f"localhost:{port}"
        self._credentials = credentials
        self.channel: Any = None

    async def __aenter__(self) -> Self:
        if self._credentials is None:
            self.channel = grpc.aio.insecure_channel(self._address, self._options)
        else:
            self.channel = grpc.aio.secure_channel(self._address, self._credentials, self._options)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.channel.close()
        self.channel = None

    def start(self, path: str, request: Message | bytes = b"", **more: Any) -> Any:
        """Begin a call."""
        sent = request if isinstance(request, bytes) else request.SerializeToString()
        options = {"metadata": BEARER, "timeout": PATIENCE_SECONDS, **more}
        return self.channel.unary_unary(path)(sent, **options)

    async def call(self, path: str, request: Message | bytes = b"", **more: Any) -> bytes:
        """Return the message of the response."""
        return bytes(await self.start(path, request, **more))

    async def error(self, path: str, request: Message | bytes = b"", **more: Any) -> Any:
        """Return the error of a call that must fail."""
        try:
            await self.call(path, request, **more)
        except grpc.aio.AioRpcError as error:
            # Its traceback would keep the channel, until garbage is collected.
            return error.with_traceback(None)
        raise AssertionError(f"{path} has not failed")
