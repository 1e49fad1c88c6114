"""The endpoints of resmgr on NATS: read a request, let it be answered, answer.

Each request has its own task, so that one that waits holds up nobody else; but those that come in
numbers, all for one call of Redis, share one.
"""

import asyncio
import logging
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from functools import lru_cache, partial
from typing import Any, Generic, TypeVar

import nats.errors
from nats import micro
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import EndpointStats, Service
from opentelemetry.trace import SpanKind
from pydantic import ValidationError

from trimtab.api.problems import Problem
from trimtab.errors import NotFound, Retryable, TrimtabError
from trimtab.messages import subjects
from trimtab.messages.events import TRACEPARENT
from trimtab.models import Model
from trimtab.runtime import telemetry
from trimtab.tokens import protocol
from trimtab_resmgr import problems
from trimtab_resmgr.granting import Granting, batch

log = logging.getLogger(__name__)

NAME = "trimtab-resmgr"
VERSION = "0.2.0"
"""Of the protocol, as service discovery tells it."""
QUEUE = "resmgr"
"""The queue group: of all replicas, one answers."""
MOST_TOGETHER = 500
"""Requests of one tick that are one task."""

Ask = TypeVar("Ask", bound=Model)


class Endpoint(Generic[Ask]):
    """One operation and what became of its requests."""

    def __init__(
        self,
        operation: str,
        model: type[Ask],
        answer: Callable[[Ask, str], Awaitable[Model]],
        cohorts: Callable[[], Collection[str]],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.operation = operation
        self._model = model
        self._answer = answer
        self._cohorts = cohorts
        self._tasks = tasks
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
        """Alone."""
        started = time.perf_counter_ns()
        with self._span(request):
            try:
                answer = await self._work(request)
                await _respond(request, answer.model_dump_json().encode())
            except (TrimtabError, ValidationError) as error:
                await self._refused(request, error)
            except Exception:  # one bad request must not end the service
                log.exception("resmgr.failed", extra={"operation": self.operation})
                await self._refuse(request, problems.UNEXPECTED)
        self._nanoseconds += time.perf_counter_ns() - started

    async def _work(self, request: Request) -> Model:
        cohort = self._cohort(request.subject)
        return await self._answer(self._model.model_validate_json(request.data), cohort)

    def _cohort(self, subject: str) -> str:
        cohort = _last_name(subject)
        if cohort != protocol.COHORT and cohort not in (known := self._cohorts()):
            raise NotFound("cohort", cohort, ", ".join(sorted(known)))
        return cohort

    async def _refused(self, request: Request, error: TrimtabError | ValidationError) -> None:
        level = logging.WARNING if isinstance(error, Retryable) else logging.INFO
        fields = {"operation": self.operation, "error": str(error)}
        log.log(level, "resmgr.refused", extra=fields)
        await self._refuse(request, problems.of(error))

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
        if not _traced(request):
            return nullcontext()
        return telemetry.span(f"resmgr {self.operation}", request.headers, SpanKind.SERVER)


class Gathering(Endpoint[Ask]):
    """An operation whose requests come in numbers: those of one tick of the loop are one task.

    Whatever is unusual about a request is left to a task of its own, so that it costs nobody else
    anything.
    """

    def __init__(
        self,
        operation: str,
        model: type[Ask],
        answer: Callable[[Ask, str], Awaitable[Model]],
        answer_all: Callable[[Sequence[Ask], str], Awaitable[Sequence[Model | None]]],
        cohorts: Callable[[], Collection[str]],
        tasks: asyncio.TaskGroup,
    ) -> None:
        super().__init__(operation, model, answer, cohorts, tasks)
        self._answer_all = answer_all
        self._gathered: dict[str, list[Request]] = {}

    async def on_request(self, request: Request) -> None:
        if _traced(request):
            await super().on_request(request)
            return
        gathered = self._gathered.get(request.subject)
        if gathered is None or len(gathered) == MOST_TOGETHER:
            gathered = self._gathered[request.subject] = []
            # The task begins in the next tick, when all of this one have come.
            self._tasks.create_task(self._serve_gathered(request.subject, gathered))
        gathered.append(request)

    async def _serve_gathered(self, subject: str, requests: list[Request]) -> None:
        started = time.perf_counter_ns()
        if self._gathered[subject] is requests:
            del self._gathered[subject]
        usual, unusual = self._sorted(requests)
        try:
            cohort = self._cohort(subject)
            answers = await self._answer_all([ask for _, ask in usual], cohort)
        except Retryable as error:
            for request, _ in usual:
                await self._refused(request, error)
        except Exception:  # noqa: BLE001  # alone, only the one that is to blame fails
            unusual = requests
        else:
            for (request, _), answer in zip(usual, answers, strict=True):
                if answer is None:
                    unusual.append(request)
                else:
                    await _respond(request, answer.model_dump_json().encode())
        for request in unusual:
            self._tasks.create_task(self._serve(request))
        alone = len(requests) - len(unusual)
        self._nanoseconds += alone * (time.perf_counter_ns() - started)

    def _sorted(
        self, requests: Iterable[Request]
    ) -> tuple[list[tuple[Request, Ask]], list[Request]]:
        """Those that can be read, and those that cannot."""
        usual: list[tuple[Request, Ask]] = []
        unusual: list[Request] = []
        for request in requests:
            try:
                usual.append((request, self._model.model_validate_json(request.data)))
            except ValidationError:
                unusual.append(request)
        return usual, unusual


@asynccontextmanager
async def serving(
    client: Client,
    granting: Granting,
    cohorts: Callable[[], Collection[str]],
    counted: Callable[[], Mapping[str, int]],
    tasks: asyncio.TaskGroup,
) -> AsyncIterator[None]:
    """Answer all operations for as long as this lasts.

    ``cohorts`` are those that pools are declared in, ``counted`` are allocations by status.
    """
    operations: dict[type[Model], Callable[[Any, str], Awaitable[Model]]] = {
        protocol.Register: granting.register,
        protocol.Allocate: granting.allocate,
        protocol.Renew: granting.renew,
        protocol.Reassert: granting.reassert,
        protocol.Release: granting.release,
        protocol.Reprioritize: granting.reprioritize,
        protocol.ForceRelease: granting.force_release,
        protocol.Inspect: granting.inspect,
        protocol.Recount: granting.recount,
        protocol.Batch: partial(batch, granting),
    }
    together: dict[type[Model], Callable[[Any, str], Awaitable[Sequence[Model | None]]]] = {
        protocol.Allocate: granting.allocate_all,
        protocol.Renew: granting.renew_all,
        protocol.Release: granting.release_all,
    }
    endpoints = {
        name: Gathering(name, model, answer, together[model], cohorts, tasks)
        if model in together
        else Endpoint(name, model, answer, cohorts, tasks)
        for model, answer in operations.items()
        for name in [protocol.operation(model)]
    }

    def stats(found: EndpointStats) -> Mapping[str, int]:
        endpoints[found.name].correct(found)
        return counted() if found.name == protocol.operation(protocol.Allocate) else {}

    service = await micro.add_service(
        client,
        name=NAME,
        version=VERSION,
        description="Grants tokens of pools",
        queue_group=QUEUE,
        stats_handler=stats,
    )
    for name, endpoint in endpoints.items():
        # Of every cohort, so that a wrong one is answered with a reason and not with silence.
        subject = f"trimtab.resmgr.{name}.*"
        await service.add_endpoint(name=name, subject=subject, handler=endpoint.on_request)
    await client.flush()  # so that whoever sees us ready also reaches us
    try:
        yield
    finally:
        # While the server is away there is nobody to say goodbye to.
        with suppress(nats.errors.Error, TimeoutError):
            await _leave(client, service)


async def _leave(client: Client, service: Service) -> None:
    """Let others take what comes from now on, and pass on what has come to us already.

    The service's own stop would drop that, and whoever asked would wait in vain. So would a drain
    alone: nats-py writes a ping at once and everything else in the next tick, so the server may
    answer the ping of the drain before it hears that we leave.
    """
    endpoints = [e._subscription for e in service._endpoints if e._subscription is not None]
    for endpoint in endpoints:
        await client._send_unsubscribe(endpoint._id)
    await client.flush()
    await asyncio.gather(*(endpoint.drain() for endpoint in endpoints))


def _traced(request: Request) -> bool:
    return TRACEPARENT in (request.headers or {})


@lru_cache(maxsize=4096)
def _last_name(subject: str) -> str:
    return subjects.name_of(subject)


async def _respond(request: Request, body: bytes, headers: dict[str, str] | None = None) -> None:
    try:
        await request.respond(body, headers)
    except ValueError:
        log.debug("resmgr.no_reply_wanted")  # a release may be sent without waiting for its answer
    except nats.errors.Error as error:
        # The caller will ask again; what it held or gave back stays so.
        log.warning("resmgr.unanswered", extra={"error": f"{type(error).__name__}: {error}"})
