"""Requests over NATS that one replica of a service replies to, and errors in replies."""

from collections.abc import Mapping
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.request import ERROR_CODE_HEADER, ERROR_HEADER
from pydantic import BaseModel, ValidationError

from trimtab.errors import Rejected, TrimtabError, Unavailable
from trimtab.models import read
from trimtab.runtime.retrying import raise_if_cancelled

Reply = TypeVar("Reply", bound=BaseModel)
_MAX_ERROR = 2000
"""Characters of an error in a header."""


async def request(
    client: Client,
    subject: str,
    reply: type[Reply],
    *,
    service: str,
    timeout: float,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> Reply:
    """Send a request, and return its reply.

    Raises `Unavailable`, which names the service, where none arrives, and what `raise_error` does.
    """
    try:
        message = await client.request(
            subject, body, timeout=timeout, headers=dict(headers) or None
        )
    except nats.errors.NoRespondersError as error:
        raise Unavailable(f"no {service} is running") from error
    except (nats.errors.Error, TimeoutError) as error:
        raise Unavailable(f"{service} does not answer ({type(error).__name__})") from error
    raise_if_cancelled()
    raise_error(message)
    try:
        return read(reply, message.data)
    except ValidationError as error:
        raise Unavailable(f"the reply of {service} is of another release") from error


def raise_error(message: Msg) -> None:
    """Raise `Rejected` or `Unavailable` with the message that the headers of a reply report."""
    headers = message.headers or {}
    text = headers.get(ERROR_HEADER)
    if text is None:
        return
    family = Unavailable if headers.get(ERROR_CODE_HEADER, "").startswith("5") else Rejected
    raise family(text)


def error_headers(error: TrimtabError) -> dict[str, str]:
    """Return the headers of a reply that reports an error; a header has one line."""
    text = " ".join(str(error).encode(errors="backslashreplace").decode().split())
    return {
        ERROR_HEADER: text[:_MAX_ERROR] or type(error).__name__,
        ERROR_CODE_HEADER: str(error.code.http_status),
    }
