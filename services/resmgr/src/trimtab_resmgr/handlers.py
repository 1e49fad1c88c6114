"""The endpoints of resmgr on NATS: parse a request, call the manager, send the reply.

Each request has a task of its own, so that one that waits delays no other. Operations with many
requests share a task, and one call of Redis, among all requests of a tick of the event loop.
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
from trimtab_resmgr import batches, problems, replies
from trimtab_resmgr.managers import Manager, process_batch

log = logging.getLogger(__name__)

NAME = "trimtab-resmgr"
VERSION = "0.4.0"
"""The version of the protocol, which service discovery reports."""
QUEUE = "resmgr"
"""The queue group: one of all replicas receives each request."""
MAX_PER_TASK = 500
"""Requests of one tick that share a task."""

Parsed = TypeVar("Parsed", bound=Model)


class Endpoint(Generic[Parsed]):
    """Serves one operation, and counts its errors and its time."""

    def __init__(
        self,
        operation: str,
        model: type[Parsed],
        process: Callable[[Parsed, str], Awaitable[Model]],
        cohorts: Callable[[], Collection[str]],
        tasks: asyncio.TaskGroup,
        parse: Callable[[bytes], Any] | None = None,
    ) -> None:
        """``process`` is called with a request and its cohort.

        ``parse`` parses requests; absent, the model does.
        """
        self.operation = operation
        self._parse = parse or model.model_validate_json
        self._model = model
        self._process = process
        self._cohorts = cohorts
        self._tasks = tasks
        self._errors = 0
        self._last_error: str | None = None
        self._nanoseconds = 0

    async def on_request(self, request: Request) -> None:
        self._tasks.create_task(self._serve(request))

    def update_stats(self, stats: EndpointStats) -> None:
        """Correct the statistics of nats-py, since `on_request` returns before the work is done."""
        stats.num_errors = self._errors
        stats.last_error = self._last_error
        stats.processing_time = self._nanoseconds
        stats.average_processing_time = self._nanoseconds // max(stats.num_requests, 1)

    async def _serve(self, request: Request) -> None:
        """Serve a request on its own."""
        started = time.perf_counter_ns()
        with self._span(request):
            try:
                cohort = self._cohort(request.subject)
                reply = await self._process(self._parse(request.data), cohort)
                await _respond(request, replies.encode(reply))
            except (TrimtabError, ValidationError) as error:
                await self._refuse(request, error)
            except Exception:  # One faulty request must not end the service.
                log.exception("resmgr.failed", extra={"operation": self.operation})
                await self._respond_problem(request, problems.unexpected())
        self._nanoseconds += time.perf_counter_ns() - started

    def _cohort(self, subject: str) -> str:
        cohort = _last_name(subject)
        if cohort != protocol.COHORT and cohort not in (known := self._cohorts()):
            raise NotFound("cohort", cohort, ", ".join(sorted(known)))
        return cohort

    async def _refuse(self, request: Request, error: TrimtabError | ValidationError) -> None:
        level = logging.WARNING if isinstance(error, Retryable) else logging.INFO
        fields = {"operation": self.operation, "error": str(error)}
        log.log(level, "resmgr.refused", extra=fields)
        await self._respond_problem(request, problems.problem_of(error))

    async def _respond_problem(self, request: Request, problem: Problem) -> None:
        self._errors += 1
        self._last_error = f"{problem.status}:{problem.detail}"
        headers = {
            # A header has one line and should be short; the body has the whole text.
            micro.request.ERROR_HEADER: " ".join(problem.detail.split())[:500],
            micro.request.ERROR_CODE_HEADER: str(problem.status),
            "Content-Type": "application/problem+json",
        }
        await _respond(request, problem.model_dump_json(exclude_none=True).encode(), headers)

    def _span(self, request: Request) -> AbstractContextManager[object]:
        """Return a span under the caller's; without one, polls would fill the traces."""
        if not _is_traced(request):
            return nullcontext()
        return telemetry.span(f"resmgr {self.operation}", request.headers, SpanKind.SERVER)


class BatchEndpoint(Endpoint[Parsed]):
    """Serves the requests of one tick of the event loop in one task.

    A request that is unusual in any way is left to a task of its own, so that it delays no other.
    """

    def __init__(
        self,
        operation: str,
        model: type[Parsed],
        process: Callable[[Parsed, str], Awaitable[Model]],
        process_all: Callable[[Sequence[Parsed], str], Awaitable[Sequence[Model | None]]],
        cohorts: Callable[[], Collection[str]],
        tasks: asyncio.TaskGroup,
    ) -> None:
        super().__init__(operation, model, process, cohorts, tasks)
        self._process_all = process_all
        self._collected: dict[str, list[Request]] = {}

    async def on_request(self, request: Request) -> None:
        if _is_traced(request):
            await super().on_request(request)
            return
        collected = self._collected.get(request.subject)
        if collected is None or len(collected) == MAX_PER_TASK:
            collected = self._collected[request.subject] = []
            # The task starts in the next tick, after all requests of this one have arrived.
            self._tasks.create_task(self._serve_all(request.subject, collected))
        collected.append(request)

    async def _serve_all(self, subject: str, requests: list[Request]) -> None:
        started = time.perf_counter_ns()
        if self._collected[subject] is requests:
            del self._collected[subject]
        valid, alone = self._parse_all(requests)
        try:
            cohort = self._cohort(subject)
            results = await self._process_all([parsed for _, parsed in valid], cohort)
        except Retryable as error:
            for request, _ in valid:
                await self._refuse(request, error)
        except Exception:  # noqa: BLE001  # Served alone, only the faulty request fails.
            alone = requests
        else:
            for (request, _), reply in zip(valid, results, strict=True):
                if reply is None:
                    alone.append(request)
                else:
                    await _respond(request, reply.model_dump_json().encode())
        for request in alone:
            self._tasks.create_task(self._serve(request))
        served = len(requests) - len(alone)
        self._nanoseconds += served * (time.perf_counter_ns() - started)

    def _parse_all(
        self, requests: Iterable[Request]
    ) -> tuple[list[tuple[Request, Parsed]], list[Request]]:
        """Return the valid requests with their models, and the invalid ones."""
        valid: list[tuple[Request, Parsed]] = []
        invalid: list[Request] = []
        for request in requests:
            try:
                valid.append((request, self._model.model_validate_json(request.data)))
            except ValidationError:
                invalid.append(request)
        return valid, invalid


@asynccontextmanager
async def serve(
    client: Client,
    manager: Manager,
    cohorts: Callable[[], Collection[str]],
    allocations: Callable[[], Mapping[str, int]],
    tasks: asyncio.TaskGroup,
) -> AsyncIterator[None]:
    """Serve all operations while the block runs.

    ``cohorts`` returns the known cohorts, ``allocations`` the number of allocations by status.
    """
    operations: dict[type[Model], Callable[[Any, str], Awaitable[Model]]] = {
        protocol.Register: manager.register,
        protocol.Allocate: manager.allocate,
        protocol.Renew: manager.renew,
        protocol.Reassert: manager.reassert,
        protocol.Release: manager.release,
        protocol.Reprioritize: manager.reprioritize,
        protocol.ForceRelease: manager.force_release,
        protocol.Inspect: manager.inspect,
        protocol.Pools: manager.pools,
        protocol.Locate: manager.locate,
        protocol.Recount: manager.recount,
        protocol.Batch: partial(process_batch, manager),
    }
    batched: dict[type[Model], Callable[[Any, str], Awaitable[Sequence[Model | None]]]] = {
        protocol.Allocate: manager.allocate_all,
        protocol.Renew: manager.renew_all,
        protocol.Release: manager.release_all,
    }
    parsers: dict[type[Model], Callable[[bytes], Any]] = {protocol.Batch: batches.parse}
    endpoints = {
        name: BatchEndpoint(name, model, process, batched[model], cohorts, tasks)
        if model in batched
        else Endpoint(name, model, process, cohorts, tasks, parsers.get(model))
        for model, process in operations.items()
        for name in [protocol.operation(model)]
    }

    def stats(endpoint: EndpointStats) -> Mapping[str, int]:
        endpoints[endpoint.name].update_stats(endpoint)
        return allocations() if endpoint.name == protocol.operation(protocol.Allocate) else {}

    service = await micro.add_service(
        client,
        name=NAME,
        version=VERSION,
        description="Grants tokens of pools",
        queue_group=QUEUE,
        stats_handler=stats,
    )
    for name, endpoint in endpoints.items():
        # The wildcard receives every cohort, so that an unknown one gets an error and no silence.
        subject = f"trimtab.resmgr.{name}.*"
        await service.add_endpoint(name=name, subject=subject, handler=endpoint.on_request)
    await client.flush()  # A caller that sees this replica ready must reach it.
    try:
        yield
    finally:
        # While the server is away there is no subscription to end.
        with suppress(nats.errors.Error, TimeoutError):
            await _leave_queue_group(client, service)


async def _leave_queue_group(client: Client, service: Service) -> None:
    """Leave new requests to other replicas, and process those that have arrived already.

    The service's own stop would drop those, and their callers would time out. So would a drain
    alone: nats-py writes the ping of a drain at once and everything else in the next tick, so the
    server may answer the ping before it processes the end of the subscriptions.
    """
    endpoints = [e._subscription for e in service._endpoints if e._subscription is not None]
    for endpoint in endpoints:
        await client._send_unsubscribe(endpoint._id)
    await client.flush()
    await asyncio.gather(*(endpoint.drain() for endpoint in endpoints))


def _is_traced(request: Request) -> bool:
    return TRACEPARENT in (request.headers or {})


@lru_cache(maxsize=4096)
def _last_name(subject: str) -> str:
    return subjects.name_of(subject)


async def _respond(request: Request, body: bytes, headers: dict[str, str] | None = None) -> None:
    try:
        await request.respond(body, headers)
    except ValueError:
        # A release may be published without a reply subject.
        log.debug("resmgr.no_reply_subject")
    except nats.errors.Error as error:
        # The caller repeats its request, and finds that it was processed.
        log.warning("resmgr.unanswered", extra={"error": f"{type(error).__name__}: {error}"})
