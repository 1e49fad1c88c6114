"""Replies to requests to resolve an execution without running it.

The values are those of an admission at the same time, because the same function resolves them.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind
from pydantic import JsonValue, ValidationError

from trimtab import models
from trimtab.errors import Failed, NotFound, Rejected, TrimtabError
from trimtab.messages import subjects
from trimtab.messages.dry_runs import DryRunReply, DryRunRequested, RefusedValue
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution
from trimtab.resolution.limits import Refusal
from trimtab.runtime import replies, tasks, telemetry
from trimtab.settings.view import View
from trimtab.workflows.graphs.graph import Binding, Constant, FromInput, FromNode
from trimtab_propeller.admission import resolve_in_threads
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import Executor
from trimtab_propeller.pods.building import build_pod
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.pods.draft import Manifest
from trimtab_propeller.resolution import Site

_VIEW_SECONDS = 5.0
"""How long to wait for the settings that a request must see: shorter than admin waits."""
_CONCURRENCY = 2
_HEADERS_BYTES = 4096
"""Room for the headers of a message."""
_QUEUE = "propeller"


class DryRunReplies:
    """Resolves requests; of several propellers, one receives each."""

    def __init__(
        self, client: Client, view: View, executor: Executor, site: Callable[[Request], Site]
    ) -> None:
        self._client = client
        self._view = view
        self._executor = executor
        self._site = site
        self._free = asyncio.Semaphore(_CONCURRENCY)

    async def run(self) -> None:
        """Reply until cancelled."""
        async with asyncio.TaskGroup() as group:

            async def on_request(message: Msg) -> None:
                group.create_task(self._reply(message))

            subscription = await self._client.subscribe(subjects.DRY_RUN, _QUEUE, on_request)
            try:
                await asyncio.Event().wait()
            finally:
                with suppress(nats.errors.Error):  # A closed connection has no subscriptions.
                    await subscription.unsubscribe()

    async def _reply(self, message: Msg) -> None:
        with telemetry.span("resolve a dry run", message.headers, SpanKind.SERVER):
            headers = None
            try:
                async with self._free:
                    body = (await self._resolved(message.data)).body()
                    self._check_size(body)
            except TrimtabError as error:
                body, headers = b"", replies.error_headers(error)
            except Exception as error:  # noqa: BLE001  # one request must not end the others
                tasks.report_failure("dry_run.failed", error)
                failure = Failed("propeller failed unexpectedly; its log has the cause")
                body, headers = b"", replies.error_headers(failure)
            with suppress(nats.errors.Error, ValueError):  # the caller repeats the request
                await self._client.publish(message.reply, body, headers=headers)

    def _check_size(self, body: bytes) -> None:
        """Raise `Rejected` where a reply is larger than a message of NATS may be."""
        if len(body) + _HEADERS_BYTES > self._client.max_payload:
            raise Rejected(
                f"the values take {len(body)} bytes, more than a message of NATS can hold; "
                "execute it, and explain the execution"
            )

    async def _resolved(self, body: bytes) -> DryRunReply:
        try:
            wanted = models.read(DryRunRequested, body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(map(str, first["loc"])) or "body"
            raise Rejected(f"propeller is of another release: {path}: {first['msg']}") from error
        request = wanted.request
        settings = await self._view.wait_for(request.revision, _VIEW_SECONDS)
        try:
            site, capabilities = self._site(request), self._executor.capabilities
            resolution = await resolve_in_threads(
                request, settings, capabilities, site, wanted.node
            )
            pod = _pod(request, resolution, wanted.node) if wanted.node else None
        except Refusal as refusal:
            return DryRunReply(refused=_refused(refusal))
        return DryRunReply(resolution=resolution, pod=pod)


def _refused(refusal: Refusal) -> RefusedValue:
    return RefusedValue(
        node=refusal.node,
        path=refusal.path,
        value=models.json_value("value", refusal.value),
        limit=refusal.limit,
        scope=refusal.scope,
        message=str(refusal),
    )


def _pod(request: Request, resolution: Resolution, node_id: str) -> Manifest:
    """Return the pod of a node's first attempt. Raises `NotFound` and `AttemptRejected`."""
    nodes = {node.id: node for node in request.workflow.nodes}
    if node_id not in nodes:
        raise NotFound.among("node", node_id, nodes)
    node = nodes[node_id]
    inputs = {name: _expected(binding, request) for name, binding in node.inputs.items()}
    attempt = Attempt.from_resolution(request, resolution, node, 0, inputs)
    return build_pod(attempt, PodDefaults.stored(resolution.pods))


def _expected(binding: Binding, request: Request) -> JsonValue:
    """Return the value, or a text that describes it where another node will return it."""
    match binding:
        case Constant():
            return binding.value
        case FromInput():
            return request.inputs[binding.name]
        case FromNode():
            return f"<output of {binding.node}>"
