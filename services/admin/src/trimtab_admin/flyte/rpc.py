"""RPCs: what serves one, what it requires of the caller, and its errors. Independent of doors."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import code_pb2

from trimtab.errors import Forbidden, TrimtabError
from trimtab_admin.access.authorization import Caller, platform_admin
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.access.throttling import Throttled

Handler = Callable[[Call, Any], Awaitable[Message]]
"""An async function of the call and the request's message. It raises `RpcError`, or a
`TrimtabError`, which becomes the status that its code names."""

Requirement = Callable[[Caller, Any], None]
"""A requirement of an RPC: it raises `Forbidden` unless the caller may make the request."""


def admin_of_platform(caller: Caller, _request: Any) -> None:
    platform_admin(caller, {})


def any_caller(_caller: Caller, _request: Any) -> None:
    """Require only authentication: the result is public to callers, filtered, or checked later."""


# Not frozen: a context manager sets the traceback of an error that leaves its block.
@dataclass(eq=False)
class RpcError(Exception):
    """The error that the client receives: a code of ``google.rpc.Code``, a text, details."""

    code: int
    message: str
    details: tuple[Message, ...] = ()

    def __str__(self) -> str:
        return f"{code_pb2.Code.Name(self.code)}: {self.message}"


@dataclass(frozen=True)
class Rpc:
    """One method of a service, with its handler."""

    name: str
    handler: Handler
    requires: Requirement = admin_of_platform
    """An RPC that names none is for admins of the platform."""
    is_open: bool = field(default=False, kw_only=True)
    """Whether a client that has no API token yet may call it."""


@dataclass(frozen=True)
class Service:
    """A service of Flyte, with the methods of it that are served."""

    descriptor: ServiceDescriptor
    rpcs: Sequence[Rpc]

    def __post_init__(self) -> None:
        for rpc in self.rpcs:
            if rpc.name not in self.descriptor.methods_by_name:
                raise TypeError(f"{self.name} has no method {rpc.name}")

    @property
    def name(self) -> str:
        return str(self.descriptor.full_name)

    @cached_property
    def by_name(self) -> Mapping[str, Rpc]:
        return {rpc.name: rpc for rpc in self.rpcs}

    def method(self, name: str) -> MethodDescriptor:
        return self.descriptor.methods_by_name[name]

    def request_type(self, name: str) -> type[Message]:
        """Return the class of the requests of a method."""
        found: type[Message] = GetMessageClass(self.method(name).input_type)
        return found

    def unimplemented(self, name: str) -> RpcError:
        """Return the error of a method of the service that is not served."""
        return RpcError(
            code_pb2.UNIMPLEMENTED,
            f"{self.name}/{name} is not served here: Trimtab serves "
            f"{', '.join(sorted(self.by_name))} of this service",
        )


async def respond(rpc: Rpc, call: Call, request: Message, access: AccessControl) -> Message:
    """Return the response to an authenticated call. Raises `RpcError`.

    A call that the caller may not make is audited and throttled.
    """
    try:
        rpc.requires(call.caller, request)
        return await rpc.handler(call, request)
    except Forbidden as error:
        raise of_error(await access.refuse(call, error)) from error
    except TrimtabError as error:
        raise of_error(error) from error


def of_error(error: TrimtabError | Throttled) -> RpcError:
    """Return the error with the code that the `trimtab.errors.Code` of an error names."""
    return RpcError(code_pb2.Code.Value(error.code.grpc_status), str(error))
