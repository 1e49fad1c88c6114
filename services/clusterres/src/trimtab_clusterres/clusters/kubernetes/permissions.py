"""Finds what this service may not do: the API server itself decides."""

import asyncio
from collections.abc import Collection

from pydantic import JsonValue

from trimtab_clusterres.clusters.kubernetes.connection import Connection
from trimtab_clusterres.clusters.kubernetes.discovery import Discovery, Kind, UnknownKind
from trimtab_clusterres.clusters.kubernetes.records import NAMESPACE
from trimtab_clusterres.clusters.port import ApiKind

_VERBS = ("get", "list", "watch", "create", "patch", "delete")
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def missing(
    connection: Connection, discovery: Discovery, kinds: Collection[ApiKind]
) -> tuple[str, ...]:
    """Return a sentence for each kind that is not served, or has verbs that are not allowed."""
    # Where credentials are refused, the API server may cut a request before it has read the body.
    await connection.request("GET", "/version")
    sentences = []
    found = {NAMESPACE}
    for api_kind in sorted(set(kinds)):
        try:
            found.add(await discovery.kind(api_kind))
        except UnknownKind as unknown:
            sentences.append(str(unknown))
    for kind in sorted(found, key=lambda kind: (kind.group, kind.plural)):
        allowed = await asyncio.gather(*(_is_allowed(connection, kind, verb) for verb in _VERBS))
        denied = [verb for verb, is_allowed in zip(_VERBS, allowed, strict=True) if not is_allowed]
        if denied:
            sentences.append(_sentence(kind, denied))
    return tuple(sentences)


async def _is_allowed(connection: Connection, kind: Kind, verb: str) -> bool:
    # Without a namespace, the review is about all of them.
    attributes: dict[str, JsonValue] = {"group": kind.group, "resource": kind.plural, "verb": verb}
    review: dict[str, JsonValue] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await connection.request("POST", _REVIEWS, body=review)
    status = answer.body.get("status")
    return isinstance(status, dict) and status.get("allowed") is True


def _sentence(kind: Kind, denied: list[str]) -> str:
    resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
    where = " in all namespaces" if kind.namespaced else ""
    return f"no permission to {', '.join(denied)} {resource}{where}"
