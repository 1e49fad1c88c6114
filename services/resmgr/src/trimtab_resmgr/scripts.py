"""Calls of Lua scripts on Redis or Valkey: the connection, and the batching of requests."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, Generic, NamedTuple, TypeVar

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import BlockingConnectionPool, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    NoScriptError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
)

from trimtab.errors import Invalid, Unavailable
from trimtab.runtime.retrying import raise_if_cancelled
from trimtab_resmgr import config

Client = Redis | RedisCluster

FAILURES = (RedisError, RedisClusterException, OSError)
"""The exceptions of a call without a reply. redis-py's errors of a cluster are another family."""

TIMEOUT_SECONDS = 1.0
"""The timeout of one try of one call. Callers wait for some seconds; an early error serves them
better."""

MAX_BATCH = 500
"""Requests in one call: some milliseconds in which the server serves no other call. Only a caller
that sends more at once has more in its call."""
MAX_IN_FLIGHT = 2
"""Calls at the same time: the server runs one while the other is transmitted. Requests that arrive
meanwhile form the next call, so the calls grow, and each request becomes cheaper, with the load."""

MAX_CONNECTIONS = 16
"""Connections to one server, which runs one call at a time. More would only wait there."""
CONNECTION_SECONDS = 5.0
"""How long a call waits for one of them. Its caller has given up by then."""

Request = TypeVar("Request")
Reply = TypeVar("Reply")


def connect(redis: config.Redis, timeout: float = TIMEOUT_SECONDS) -> Client:
    """Return a client that connects at its first call, and again after a failure.

    A call fails where the server does not respond within ``timeout`` seconds. Raises `Invalid`
    where no server is configured.
    """
    if not redis.host_paths:
        allowed = "host:port or the path of a unix socket, at least one"
        raise Invalid("resourcemanager.redis.hostPaths", [], allowed)
    addresses = [config.parse_address(path) for path in redis.host_paths]
    password = redis.host_key.get_secret_value() or None
    # redis-py accepts its own back-off classes only.
    retry = Retry(ExponentialBackoff(cap=0.1, base=0.01), redis.max_retries)
    if len(addresses) > 1:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in addresses],
            password=password,
            retry=retry,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )
    [(host, port)] = addresses
    tcp: dict[str, Any]
    tcp = {"host": host, "port": port, "socket_connect_timeout": timeout}
    unix_socket: dict[str, Any] = {"connection_class": UnixDomainSocketConnection, "path": host}
    pool = BlockingConnectionPool(
        max_connections=MAX_CONNECTIONS,
        timeout=CONNECTION_SECONDS,
        password=password,
        retry=retry,
        socket_timeout=timeout,
        **(tcp if port else unix_socket),
    )
    return Redis.from_pool(pool)


class OutOfMemory(Unavailable):
    """Redis runs only scripts that free memory."""


async def answer_of(call: Any) -> Any:
    """Await a call of the client. Raises `Unavailable`."""
    try:
        answer = await call
    except FAILURES as error:
        raise Unavailable(f"Redis does not answer: {error}") from error
    raise_if_cancelled()  # The client may swallow a cancellation.
    return answer


class Script:
    """The concatenation of files in ``lua/``."""

    def __init__(self, *parts: str, needs_memory: bool = True) -> None:
        lua = files("trimtab_resmgr") / "lua"
        texts = [(lua / f"{part}.lua").read_text(encoding="utf-8") for part in parts]
        # With this line, a Redis without free memory refuses to run the script at all, instead of
        # stopping it at its first write that needs memory.
        self._text = "\n".join(["#!lua", *texts] if needs_memory else texts)
        # Redis identifies a script by its SHA-1.
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Client, key: str, *arguments: bytes | str | int) -> Any:
        """Return the result that the head of the file describes. Raises `Unavailable`."""
        try:
            try:
                result = await client.evalsha(self._sha, 1, key, *arguments)
            except NoScriptError:  # The server was restarted or flushed; EVAL caches it again.
                result = await client.eval(self._text, 1, key, *arguments)
        except OutOfMemoryError as error:
            raise OutOfMemory(f"Redis has no free memory: {error}") from error
        except FAILURES as error:
            raise Unavailable(f"Redis does not answer: {error}") from error
        raise_if_cancelled()  # The client may swallow a cancellation.
        return result


class _Submission(NamedTuple, Generic[Request, Reply]):
    requests: Sequence[Request]
    replies: asyncio.Future[Sequence[Reply]]


class Batches(Generic[Request, Reply]):
    """Collects the requests of one tick of the event loop and sends them in one call."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        send: Callable[[Sequence[Request]], Awaitable[Sequence[Reply | Exception]]],
    ) -> None:
        """``send`` returns a reply for each request, in order, or the exception of one."""
        self._tasks = tasks
        self._send = send
        self._queued: list[_Submission[Request, Reply]] = []
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)

    def submit(self, *requests: Request) -> asyncio.Future[Sequence[Reply]]:
        """Return the future replies, which raises what ``send`` raised for the batch.

        It is not a coroutine, because each one would cost a task.
        """
        replies: asyncio.Future[Sequence[Reply]] = asyncio.get_running_loop().create_future()
        self._queued.append(_Submission(requests, replies))
        if len(self._queued) == 1:
            # The task starts in the next tick, after all submissions of this one.
            self._tasks.create_task(self._send_queued())
        return replies

    async def _send_queued(self) -> None:
        async with self._slots:
            queued, self._queued = self._queued, []
            batch: list[_Submission[Request, Reply]] = []
            size = 0
            for submission in queued:
                if batch and size + len(submission.requests) > MAX_BATCH:
                    await self._send_batch(batch)
                    batch, size = [], 0
                batch.append(submission)
                size += len(submission.requests)
            await self._send_batch(batch)

    async def _send_batch(self, batch: Sequence[_Submission[Request, Reply]]) -> None:
        try:
            replies = await self._send([request for each in batch for request in each.requests])
        except Exception as error:  # noqa: BLE001  # Every caller gets it; other batches go on.
            for submission in batch:
                if not submission.replies.done():  # A cancelled caller's future is done.
                    submission.replies.set_exception(error)
            return
        first = 0
        for submission in batch:
            after = first + len(submission.requests)
            _settle(submission.replies, replies[first:after])
            first = after


def _settle(future: asyncio.Future[Sequence[Reply]], replies: Sequence[Reply | Exception]) -> None:
    if future.done():
        return
    failures = [reply for reply in replies if isinstance(reply, Exception)]
    if failures:
        future.set_exception(failures[0])
    else:
        future.set_result([reply for reply in replies if not isinstance(reply, Exception)])
