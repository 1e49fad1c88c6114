"""The endpoints of resmgr on NATS: read a request, let it be answered, answer.

Each request has its own task, so that one that waits for Redis holds up nobody else.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, Generic, TypeVar

import nats.errors
from nats import micro
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import EndpointStats
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from trimtab import subjects, telemetry, tokens
from trimtab.api import Problem
from trimtab.errors import NotFound, Retryable, TrimtabError
from trimtab.events import TRACEPARENT
from trimtab.graph import Model
from trimtab_resmgr import problems
from trimtab_resmgr.granting import Granting

log = logging.getLogger(__name__)

NAME = "trimtab-resmgr"
VERSION = "0.1.0"
"""Of the protocol, as service discovery tells it."""
QUEUE = "resmgr"
"""The queue group: of all replicas, one answers."""

Ask = TypeVar("Ask", bound=Model)


class Endpoint(Generic[Ask]):
    """One operation and what became of its requests."""

    def __init__(
        self,
        operation: str,
        model: type[Ask],
        answer: Callable[[Ask], Awaitable[Model]],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.operation = operation
        self._model = model
        self._answer = answer
        self._tasks = tasks
        self._subject = subjects.resmgr(operation, tokens.COHORT)
        self._errors = 0
        self._last_error: str | None = None
        self._nanoseconds = 0

    async def on_request(self, request: Request) -> None:
        self._tasks.create_task(self._serve(request))

    def correct(self, stats: EndpointStats) -> None:
        """Put in what nats-py cannot know, since `on_request` returns before the work is done."""
        stats.num_errors = self._errors
        stats.last_error = self._last_error
        stats.processing_time = self._nanoseconds
        stats.average_processing_time = self._nanoseconds // max(stats.num_requests, 1)

    async def _serve(self, request: Request) -> None:
        started = time.perf_counter_ns()
        with self._span(request):
            try:
                answer = await self._work(request)
                await _respond(request, answer.model_dump_json().encode())
            except (TrimtabError, ValidationError) as error:
                level = logging.WARNING if isinstance(error, Retryable) else logging.INFO
                fields = {"operation": self.operation, "error": str(error)}
                log.log(level, "resmgr.refused", extra=fields)
                await self._refuse(request, problems.of(error))
            except Exception:  # one bad request must not end the service
                log.exception("resmgr.failed", extra={"operation": self.operation})
                await self._refuse(request, problems.UNEXPECTED)
        self._nanoseconds += time.perf_counter_ns() - started

    async def _work(self, request: Request) -> Model:
        if request.subject != self._subject:
            raise NotFound("cohort", request.subject.rpartition(".")[2], tokens.COHORT)
        return await self._answer(self._model.model_validate_json(request.data))

    async def _refuse(self, request: Request, problem: Problem) -> None:
        self._errors += 1
        self._last_error = f"{problem.status}:{problem.detail}"
        headers = {
            # One line, and no longer than a header should be; the body has all of it.
            micro.request.ERROR_HEADER: " ".join(problem.detail.split())[:500],
            micro.request.ERROR_CODE_HEADER: str(problem.status),
            "Content-Type": "application/problem+json",
        }
        await _respond(request, problem.model_dump_json(exclude_none=True).encode(), headers)

    def _span(self, request: Request) -> AbstractContextManager[object]:
        """Under the caller's, where there is one; a span of each poll would tell nothing."""
        headers = request.headers
        if not headers or TRACEPARENT not in headers:
            return nullcontext()
        return telemetry.span(f"resmgr {self.operation}", headers, SpanKind.SERVER)


@asynccontextmanager
async def serving(
    client: Client, granting: Granting, tasks: asyncio.TaskGroup
) -> AsyncIterator[None]:
    """Answer all operations for as long as this lasts."""
    endpoints: tuple[Endpoint[Any], ...] = (
        Endpoint("register", tokens.Register, granting.register, tasks),
        Endpoint("allocate", tokens.Allocate, granting.allocate, tasks),
        Endpoint("release", tokens.Release, granting.release, tasks),
        Endpoint("inspect", tokens.Inspect, granting.inspect, tasks),
    )
    by_name = {endpoint.operation: endpoint for endpoint in endpoints}
    service = await micro.add_service(
        client,
        name=NAME,
        version=VERSION,
        description="Grants tokens of pools",
        queue_group=QUEUE,
        stats_handler=lambda stats: by_name[stats.name].correct(stats),
    )
    for endpoint in endpoints:
        # Other cohorts too, so that a wrong one is answered with a reason and not with silence.
        subject = f"trimtab.resmgr.{endpoint.operation}.*"
        await service.add_endpoint(
            name=endpoint.operation, subject=subject, handler=endpoint.on_request
        )
    await client.flush()  # so that whoever sees us ready also reaches us
    try:
        yield
    finally:
        # While the server is away there is nobody to say goodbye to.
        with suppress(nats.errors.Error, TimeoutError):
            await service.stop()


async def _respond(request: Request, body: bytes, headers: dict[str, str] | None = None) -> None:
    try:
        await request.respond(body, headers)
    except ValueError:
        log.debug("resmgr.no_reply_wanted")  # a release may be sent without waiting for its answer
    except nats.errors.Error as error:
        # The caller will ask again; what it held or gave back stays so.
        log.warning("resmgr.unanswered", extra={"error": f"{type(error).__name__}: {error}"})
