"""Everything that Trimtab says and answers on NATS, as an AsyncAPI 3 document. Pure.

Made from the models that are sent, so that it cannot say anything else. What a record's document
holds depends on its kind: ``GET /api/v2/kinds`` has a schema of each.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from trimtab.api.problems import Problem
from trimtab.messages import events, executions, subjects
from trimtab.tokens import protocol

_SCHEMAS = "#/components/schemas/{model}"

_PARTS: Mapping[str, str] = {
    "kind": "The name of a kind, such as `task_resource`.",
    "domain": "A domain; `-` where the scope has none.",
    "project": "A project; `-` where the scope has none.",
    "workflow": "A workflow; `-` where the scope has none.",
    "launch_plan": "A launch plan; `-` where the scope has none.",
    "name": "The name of what has changed.",
    "execution": "The id of an execution.",
    "cluster": "The name of a cluster.",
    "namespace": "A Kubernetes namespace.",
    "cohort": "Pools that can be taken together; `default` where a pool names none.",
    "token": "The id of a token.",
}
_ESCAPE = (
    "Names are escaped: everything but letters, digits, `-` and `_` is `=XX`, the hexadecimal "
    "bytes of its UTF-8; a lone `-` is `=2D`."
)


@dataclass(frozen=True)
class _Channel:
    """A family of subjects and what is sent on it."""

    name: str
    address: str
    about: str
    messages: Sequence[type[BaseModel]]
    stream: str = ""


@dataclass(frozen=True)
class _Request:
    """An operation of resmgr."""

    ask: type[BaseModel]
    answer: type[BaseModel]

    @property
    def operation(self) -> str:
        return _snake(self.ask.__name__)


_CHANNELS = (
    _Channel(
        "records",
        "trimtab.attributes.{kind}.{domain}.{project}.{workflow}.{launch_plan}",
        "The record of a kind at a scope, or that it was deleted. The domain `=settings` stands "
        "for the layer of the settings file.",
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
        "A pool; `*` is what holds of pools that nobody has declared.",
        [events.PoolChanged],
        subjects.SETTINGS,
    ),
    _Channel(
        "watermark",
        subjects.WATERMARK,
        "What every view of the settings must be like at a revision.",
        [events.Watermark],
        subjects.SETTINGS,
    ),
    _Channel(
        "requested",
        "trimtab.executions.requested.{domain}.{project}",
        "An execution that some propeller must take.",
        [executions.ExecutionRequested],
        subjects.EXECUTIONS,
    ),
    _Channel(
        "execution",
        "trimtab.executions.events.{execution}",
        "The log of one execution, which is its state: each event has its place in `index`.",
        get_args(get_args(executions.KnownEvent)[0]),
        subjects.EXECUTION_EVENTS,
    ),
    _Channel(
        "namespaces",
        "trimtab.namespaces.{cluster}.{namespace}",
        "What clusterres made of a namespace.",
        [events.NamespaceStatus],
        subjects.NAMESPACES,
    ),
    _Channel("heartbeats", subjects.HEARTBEATS, "A propeller lives.", [events.Heartbeat]),
    _Channel(
        "granted",
        "trimtab.resmgr.granted.{cohort}.{token}",
        "A hint that a token that was waited for is granted: ask again. It may get lost.",
        [protocol.TokenGranted],
    ),
    _Channel(
        "lost",
        "trimtab.resmgr.lost.{cohort}.{token}",
        "A hint that a token is held no longer. It may get lost.",
        [protocol.TokenLost],
    ),
)

_REQUESTS = (
    _Request(protocol.Register, protocol.Registered),
    _Request(protocol.Allocate, protocol.Allocated),
    _Request(protocol.Renew, protocol.Renewed),
    _Request(protocol.Reassert, protocol.Renewed),
    _Request(protocol.Release, protocol.Released),
    _Request(protocol.Batch, protocol.Batched),
    _Request(protocol.Reprioritize, protocol.Reprioritized),
    _Request(protocol.ForceRelease, protocol.Released),
    _Request(protocol.Inspect, protocol.Inspected),
    _Request(protocol.Recount, protocol.Recounted),
)


def document() -> dict[str, Any]:
    """The whole of it, ready for JSON."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trimtab",
            "version": "1",
            "description": "What Trimtab says and answers on NATS. Bodies are JSON. Readers ignore "
            f"fields that they do not know. {_ESCAPE}",
        },
        "defaultContentType": "application/json",
        "channels": dict(_channels()),
        "operations": dict(_operations()),
        "components": {"messages": dict(_messages()), "schemas": _schemas()},
    }


def _channels() -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in _CHANNELS:
        stream = f" Stream {channel.stream}." if channel.stream else " Not stored."
        yield channel.name, _channel(channel.address, channel.about + stream, channel.messages)
    for request in _REQUESTS:
        name, about = f"resmgr.{request.operation}", _about(request.ask)
        yield name, _channel(f"trimtab.{name}.{{cohort}}", about, [request.ask])
        answers: list[type[BaseModel]] = [request.answer, Problem]
        yield f"{name}.reply", _channel(None, "The reply subject of the request.", answers)


def _channel(
    address: str | None, about: str, messages: Sequence[type[BaseModel]]
) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", address or "")
    parameters = {name: {"description": _PARTS[name]} for name in names}
    return {
        "address": address,
        "description": about,
        **({"parameters": parameters} if parameters else {}),
        "messages": {m.__name__: {"$ref": f"#/components/messages/{m.__name__}"} for m in messages},
    }


def _operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in _CHANNELS:
        operation = _operation(channel.name, channel.messages)
        yield f"send.{channel.name}", {"action": "send", **operation}
    for request in _REQUESTS:
        name = f"resmgr.{request.operation}"
        operation = _operation(name, [request.ask])
        reply = _operation(f"{name}.reply", [request.answer, Problem])
        yield name, {"action": "receive", **operation, "reply": reply}


def _operation(channel: str, messages: Sequence[type[BaseModel]]) -> dict[str, Any]:
    place = f"#/channels/{channel}"
    return {
        "channel": {"$ref": place},
        "messages": [{"$ref": f"{place}/messages/{message.__name__}"} for message in messages],
    }


def _messages() -> Iterator[tuple[str, dict[str, Any]]]:
    for channel in _CHANNELS:
        for model in channel.messages:
            yield model.__name__, _message(model, "Event" if channel.stream else "")
    for request in _REQUESTS:
        yield request.ask.__name__, _message(request.ask)
        yield request.answer.__name__, _message(request.answer)
    yield Problem.__name__, _message(Problem, "Refusal")


def _message(model: type[BaseModel], headers: str = "") -> dict[str, Any]:
    return {
        "name": model.__name__,
        **({"summary": about.partition("\n")[0]} if (about := _about(model)) else {}),
        **({"headers": {"$ref": f"#/components/schemas/{headers}Headers"}} if headers else {}),
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }


def _schemas() -> dict[str, Any]:
    """Of all bodies and what is in them, and of headers."""
    told = [model for channel in _CHANNELS for model in channel.messages]
    told += [*dict.fromkeys(request.answer for request in _REQUESTS), Problem]
    asked = [request.ask for request in _REQUESTS]
    _, schemas = models_json_schema(
        [
            *((model, "serialization") for model in told),
            *((model, "validation") for model in asked),
        ],
        ref_template=_SCHEMAS,
    )
    return {
        **schemas["$defs"],
        "EventHeaders": _headers(
            {
                "ce-id": "Of the event: the same where it is sent again.",
                "ce-type": "As `trimtab.record_changed.v1`.",
                "ce-source": "`trimtab`",
                "ce-specversion": "`1.0`",
                "Nats-Msg-Id": "As `ce-id`.",
                events.REVISION: "In SETTINGS: the revision of the change.",
                events.COMMIT: "In SETTINGS: the last revision of its transaction.",
                events.TRACEPARENT: "W3C trace context of what caused it.",
            }
        ),
        "RefusalHeaders": _headers(
            {
                "Nats-Service-Error": "The reason on one line.",
                "Nats-Service-Error-Code": "As HTTP would say it: 400, 401, 404, 409, 503.",
            }
        ),
    }


def _headers(about: Mapping[str, str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in about.items()}
    return {"type": "object", "properties": properties}


def _about(model: type[BaseModel]) -> str:
    return "\n".join(line.strip() for line in (model.__doc__ or "").strip().splitlines())


def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
