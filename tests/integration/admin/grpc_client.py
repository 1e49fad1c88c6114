"""A client of the gRPC door that sends and receives bytes."""

from typing import Any, Self

import grpc
import pytest
from google.protobuf.message import Message

from tests.integration.admin.running import TOKEN
from tests.servers import PATIENCE_SECONDS
from trimtab_admin.config import AdminConfig

BEARER = (("authorization", f"Bearer {TOKEN}"),)


class GrpcClient:
    """Calls methods by their paths. pytest keeps it, so it has no channel after its context."""

    def __init__(
        self, settings: AdminConfig, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        self._address = f"localhost:{settings.grpc_port}"
        self._credentials = credentials
        self.channel: Any = None

    async def __aenter__(self) -> Self:
        if self._credentials is None:
            self.channel = grpc.aio.insecure_channel(self._address)
        else:
            self.channel = grpc.aio.secure_channel(self._address, self._credentials)
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
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(path, request, **more)
        return caught.value
