"""``trimtab asyncapi``: all messages on NATS as an AsyncAPI 3 document.

The document is generated from the models that are sent, so it cannot differ from them. The schema
of a record's document depends on its kind: ``GET /api/v2/kinds`` has the schema of each.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import click
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from trimtab.api.problems import Problem
from trimtab.cli.commands import example
from trimtab.cli.terminal import show_data
from trimtab.messages import events, executions, subjects
from trimtab.tokens import protocol

_SCHEMAS = "#/components/schemas/{model}"

_PARAMETERS: Mapping[str, str] = {
    "kind": "The name of a kind, such as `task_resource`.",
    "domain": "A domain; `-` where the scope has none.",
    "project": "A project; `-` where the scope has none.",
    "workflow": "A workflow; `-` where the scope has none.",
    "launch_plan": "A launch plan; `-` where the scope has none.",
    "name": "The name of the project, domain, cluster, pool or queue.",
    "execution": "The id of an execution.",
    "cluster": "The name of a cluster.",
    "namespace": "A Kubernetes namespace.",
    "cohort": "A cohort, whose pools can be taken together; `default` where a pool names none.",
    "token": "The id of a token.",
}
_ESCAPE = (
    "Names are escaped: everything but letters, digits, `-` and `_` is `=XX`, the hexadecimal "
    "bytes of its UTF-8; a lone `-` is `=2D`."
)


@dataclass(frozen=True)
class _Channel:
    """A family of subjects and the messages that are published to it."""

    name: str
    address: str
    description: str
    messages: Sequence[type[BaseModel]]
    stream: str = ""


@dataclass(frozen=True)
class _Operation:
    """An operation of resmgr."""

    request: type[BaseModel]
    reply: type[BaseModel]

    @property
    def name(self) -> str:
        return _snake(self.request.__name__)


_CHANNELS = (
    _Channel(
        "records",
        "trimtab.attributes.{kind}.{domain}.{project}.{workflow}.{launch_plan}",
        "The record of a kind at a scope, or its deletion. The domain `=settings` is the layer of "
        "the settings file.",
        [events.RecordChanged],
        subjects.SETTINGS,
    ),
    _Channel(
        "projects",
        "trimtab.projects.{name}",
        "A project.",
        [events.ProjectChanged],
        subjects.SETTINGS,
    ),
    _Channel(
        "domains", "trimtab.domains.{name}", "A domain.", [events.DomainChanged], subjects.SETTINGS
    ),
    _Channel(
        "clusters",
        "trimtab.clusters.{name}",
        "A cluster.",
        [events.ClusterChanged],
        subjects.SETTINGS,
    ),
    _Channel(
        "pools",
        "trimtab.pools.{name}",
        "A pool; `*` holds the defaults of pools that are not declared.",
        [events.PoolChanged],
        subjects.SETTINGS,
    ),
    _Channel(
        "queues",
        "trimtab.queues.{name}",
        "A queue, which executions whose tags are among its attributes go to.",
        [events.QueueChanged],
        subjects.SETTINGS,
    ),
    _Channel(
        "prunes",
        "trimtab.prunes.{cluster}.{namespace}",
        "The confirmation of an admin that certain objects of a namespace are deleted.",
        [events.PruneChanged],
        subjects.SETTINGS,
    ),
    _Channel(
        "watermark",
        subjects.WATERMARK,
        "The facts that every view of the settings must equal at a revision.",
        [events.Watermark],
        subjects.SETTINGS,
    ),
    _Channel(
        "requested",
        "trimtab.executions.requested.{domain}.{project}",
        "An execution that one propeller must claim.",
        [executions.ExecutionRequested],
        subjects.EXECUTIONS,
    ),
    _Channel(
        "execution",
        "trimtab.executions.events.{execution}",
        "The log of one execution, which is its state. `index` is the number of an event in it.",
        get_args(get_args(executions.KnownEvent)[0]),
        subjects.EXECUTION_EVENTS,
    ),
    _Channel(
        "namespaces",
        "trimtab.namespaces.{cluster}.{namespace}",
        "The state of a namespace on a cluster.",
        [events.NamespaceStatus],
        subjects.NAMESPACES,
    ),
    _Channel(
        "heartbeats", subjects.HEARTBEATS, "The heartbeat of each propeller.", [events.Heartbeat]
    ),
    _Channel(
        "waiting",
        "trimtab.executions.waiting.{domain}.{project}",
        "Why a propeller does not claim the executions of a project and domain.",
        [events.ExecutionsWaiting],
    ),
    _Channel(
        "granted",
        "trimtab.resmgr.granted.{cohort}.{token}",
        "A hint that a waiter's token is granted: request it again. It may not arrive.",
        [protocol.TokenGranted],
    ),
    _Channel(
        "lost",
        "trimtab.resmgr.lost.{cohort}.{token}",
        "A hint that a token is held no longer. The hint may not arrive.",
        [protocol.TokenLost],
    ),
)

_OPERATIONS = (
    _Operation(protocol.Register, protocol.Registered),
    _Operation(protocol.Allocate, protocol.Allocated),
    _Operation(protocol.Renew, protocol.Renewed),
    _Operation(protocol.Reassert, protocol.Renewed),
    _Operation(protocol.Release, protocol.Released),
    _Operation(protocol.Batch, protocol.Batched),
    _Operation(protocol.Reprioritize, protocol.Reprioritized),
    _Operation(protocol.ForceRelease, protocol.Released),
    _Operation(protocol.Inspect, protocol.Inspected),
    _Operation(protocol.Pools, protocol.PoolPage),
    _Operation(protocol.Locate, protocol.Located),
    _Operation(protocol.Recount, protocol.Recounted),
)


def document() -> dict[str, Any]:
    """Return the document as JSON data."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trimtab",
            "version": "1",
            "description": "The messages and requests of Trimtab on NATS. Bodies are JSON. Readers "
            f"ignore fields that they do not know. {_ESCAPE} The bucket {subjects.BLOBS} of the "
            "object store holds blobs, such as bundles of code, by their SHA-256.",
        },
        "defaultContentType": "application/json",
        "channels": dict(_channels()),
        "operations": dict(_operations()),
        "components": {"messages": dict(_messages()), "schemas": _schemas()},
    }


def _channels() -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in _CHANNELS:
        stream = f" Stream {channel.stream}." if channel.stream else " Not stored."
        description = channel.description + stream
        yield channel.name, _channel(channel.address, description, channel.messages)
    for operation in _OPERATIONS:
        name, request = f"resmgr.{operation.name}", operation.request
        yield name, _channel(f"trimtab.{name}.{{cohort}}", _docstring(request), [request])
        replies: list[type[BaseModel]] = [operation.reply, Problem]
        yield f"{name}.reply", _channel(None, "The reply subject of the request.", replies)


def _channel(
    address: str | None, description: str, messages: Sequence[type[BaseModel]]
) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", address or "")
    parameters = {name: {"description": _PARAMETERS[name]} for name in names}
    return {
        "address": address,
        "description": description,
        **({"parameters": parameters} if parameters else {}),
        "messages": {m.__name__: {"$ref": f"#/components/messages/{m.__name__}"} for m in messages},
    }


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in _CHANNELS:
        operation = _operation(channel.name, channel.messages)
        yield f"send.{channel.name}", {"action": "send", **operation}
    for each in _OPERATIONS:
        name = f"resmgr.{each.name}"
        operation = _operation(name, [each.request])
        reply = _operation(f"{name}.reply", [each.reply, Problem])
        yield name, {"action": "receive", **operation, "reply": reply}


def _operation(channel: str, messages: Sequence[type[BaseModel]]) -> dict[str, Any]:
    reference = f"#/channels/{channel}"
    return {
        "channel": {"$ref": reference},
        "messages": [{"$ref": f"{reference}/messages/{message.__name__}"} for message in messages],
    }


def _messages() -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in _CHANNELS:
        for model in channel.messages:
            yield model.__name__, _message(model, "Event" if channel.stream else "")
    for operation in _OPERATIONS:
        yield operation.request.__name__, _message(operation.request)
        yield operation.reply.__name__, _message(operation.reply)
    yield Problem.__name__, _message(Problem, "Refusal")


def _message(model: type[BaseModel], headers: str = "") -> dict[str, Any]:
    return {
        "name": model.__name__,
        **({"summary": text.partition("\n")[0]} if (text := _docstring(model)) else {}),
        **({"headers": {"$ref": f"#/components/schemas/{headers}Headers"}} if headers else {}),
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _schemas() -> dict[str, Any]:
    """Return the schemas of bodies, of the models in them, and of headers."""
    sent = [model for channel in _CHANNELS for model in channel.messages]
    sent += [*dict.fromkeys(operation.reply for operation in _OPERATIONS), Problem]
    received = [operation.request for operation in _OPERATIONS]
    _, schemas = models_json_schema(
        [
            *((model, "serialization") for model in sent),
            *((model, "validation") for model in received),
        ],
        ref_template=_SCHEMAS,
    )
    return {
        **schemas["$defs"],
        "EventHeaders": _headers(
            {
                events.EVENT_ID: "The id of the event, the same each time it is published.",
                events.EVENT_TYPE: "Type and version of the event: `trimtab.record_changed.v1`.",
                "ce-source": "Always `trimtab`.",
                "ce-specversion": "Always `1.0`.",
                "Nats-Msg-Id": "The same as `ce-id`.",
                events.REVISION: "In SETTINGS: the revision of the change.",
                events.COMMIT: "In SETTINGS: the last revision of its transaction.",
                events.TRACEPARENT: "The W3C trace context that the event was caused in.",
            }
        ),
        "RefusalHeaders": _headers(
            {
                "Nats-Service-Error": "The error on one line.",
                "Nats-Service-Error-Code": "The HTTP status: 400, 401, 404, 409, 503.",
            }
        ),
    }


def _headers(descriptions: Mapping[str, str]) -> dict[str, Any]:
    properties = {
        name: {"type": "string", "description": text} for name, text in descriptions.items()
    }
    return {"type": "object", "properties": properties}


def _docstring(model: type[BaseModel]) -> str:
    return "\n".join(line.strip() for line in (model.__doc__ or "").strip().splitlines())


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


@click.command("asyncapi", epilog=example("trimtab asyncapi"))
def asyncapi() -> None:
    """Print all messages on NATS as an AsyncAPI document."""
    show_data(document(), "json")
