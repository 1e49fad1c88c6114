"""Replies to requests for the difference between a namespace and what its templates render."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind
from pydantic import JsonValue

from trimtab.api.namespaces import NamespaceDifferenceBody, ObjectDifferenceBody
from trimtab.errors import Failed, TrimtabError
from trimtab.messages import subjects
from trimtab.runtime import replies, tasks, telemetry
from trimtab_clusterres.clusters.port import Difference
from trimtab_clusterres.hiding import without_secrets
from trimtab_clusterres.reconciling import Reconciler
from trimtab_clusterres.shortening import shorten

log = logging.getLogger(__name__)

_MAX_BYTES = 900_000
_MAX_OBJECT_BYTES = 200_000
"""The longest object that is shown, on the cluster and rendered together."""
_CONCURRENCY = 2
_UNSHOWN = ("managedFields", "resourceVersion", "generation")
"""The fields of metadata that each write changes."""


class DifferenceReplies:
    """Compares namespaces of the clusters that this service reaches, on the active replica.

    Every replica receives each request, so that the one that is active then replies.
    """

    def __init__(
        self,
        client: Client,
        reconcilers: Sequence[Reconciler],
        is_active: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._is_active = is_active
        self._reconcilers = reconcilers
        # A cluster that hangs takes up only its own.
        self._free = {one.name: asyncio.Semaphore(_CONCURRENCY) for one in reconcilers}

    async def run(self) -> None:
        """Reply until cancelled."""
        subscriptions = []
        async with asyncio.TaskGroup() as group:

            async def on_request(reconciler: Reconciler, message: Msg) -> None:
                if self._is_active():
                    group.create_task(self._reply(reconciler, message))

            try:
                for one in self._reconcilers:
                    subject, handler = subjects.differences_of(one.name), partial(on_request, one)
                    subscriptions.append(await self._client.subscribe(subject, cb=handler))
                await asyncio.Event().wait()
            finally:
                for subscription in subscriptions:
                    with suppress(nats.errors.Error):
                        await subscription.unsubscribe()

    async def _reply(self, reconciler: Reconciler, message: Msg) -> None:
        namespace = subjects.name_of(message.subject)
        with telemetry.span("compare namespace", message.headers, SpanKind.SERVER):
            try:
                async with self._free[reconciler.name]:
                    revision, differences = await reconciler.compare(namespace)
                body = await asyncio.to_thread(
                    reply_body, reconciler.name, namespace, revision, differences
                )
                headers = None
            except TrimtabError as error:
                body, headers = b"", replies.error_headers(error)
            except Exception as error:  # noqa: BLE001  # one request must not end the others
                fields = {"cluster": reconciler.name, "namespace": namespace}
                tasks.report_failure("namespace.not_compared", error, fields)
                failure = Failed("clusterres failed unexpectedly; its log has the cause")
                body, headers = b"", replies.error_headers(failure)
            with suppress(nats.errors.Error, ValueError):  # the caller repeats the request
                await self._client.publish(message.reply, body, headers=headers)


def reply_body(
    cluster: str, namespace: str, revision: int, differences: Sequence[Difference]
) -> bytes:
    """Return the body of a reply, which has room for the first objects, without Secrets."""
    key = os.urandom(16)
    objects: list[ObjectDifferenceBody] = []
    available = _MAX_BYTES
    for difference in differences:
        body = _object(difference, key)
        if (size := len(body.model_dump_json().encode())) > _MAX_OBJECT_BYTES:
            body = body.model_copy(update={"live": None, "desired": None, "too_large": True})
            size = len(body.model_dump_json().encode())
        available -= size
        if available < 0:
            break
        objects.append(body)
    reply = NamespaceDifferenceBody(
        cluster=cluster,
        namespace=namespace,
        revision=revision,
        objects=tuple(objects),
        omitted=len(differences) - len(objects),
    )
    return reply.model_dump_json().encode()


def _object(difference: Difference, key: bytes) -> ObjectDifferenceBody:
    return ObjectDifferenceBody(
        object=shorten(str(difference.key), 320),
        live=None if difference.live is None else _shown(difference.live, key),
        desired=_shown(difference.desired, key),
    )


def _shown(body: Mapping[str, JsonValue], key: bytes) -> dict[str, JsonValue]:
    shown = without_secrets(body, key)
    metadata = shown.get("metadata")
    if isinstance(metadata, dict):
        shown["metadata"] = {name: metadata[name] for name in metadata if name not in _UNSHOWN}
    return shown
