"""Values of Secrets, which leave this service in no message. Pure."""

import base64
import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from pydantic import JsonValue

from trimtab.templates.manifests import Manifest

HIDDEN = "(hidden)"
_SHORTEST = 4
"""A shorter value is in many words, and no secret."""
_VALUES = ("data", "stringData")
_SHOWN = ("apiVersion", "kind", "type", "immutable", "metadata")
"""The fields of a Secret that hold no value of it."""
_LAST_APPLIED = "last-applied-configuration"
"""The end of the annotations in which kubectl and others keep the object as they applied it."""


def secret_values(manifests: Iterable[Manifest]) -> frozenset[str]:
    """Return the values of all Secrets, in each form in which a message may repeat them."""
    found: set[str] = set()
    for manifest in manifests:
        if _is_secret(manifest.body):
            for field in _VALUES:
                for value in _texts(manifest.body.get(field)):
                    found |= _forms(value)
    return frozenset(value for value in found if len(value) >= _SHORTEST)


def without_values(text: str, values: Collection[str]) -> str:
    """Return the text with each of the values hidden."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def without_secrets(body: Mapping[str, JsonValue], key: bytes) -> dict[str, JsonValue]:
    """Return an object that may be shown: each value of a Secret is a short hash with the key.

    Equal values have equal hashes, so that a diff shows which of them differ.
    """
    if not _is_secret(body):
        return dict(body)
    hidden = {name: body[name] if name in _SHOWN else _hashed(body[name], key) for name in body}
    hidden["metadata"] = _metadata(body.get("metadata"))
    return hidden


def _metadata(metadata: JsonValue) -> JsonValue:
    if not isinstance(metadata, dict) or not isinstance(metadata.get("annotations"), dict):
        return metadata
    annotations = {
        name: HIDDEN if name.endswith(_LAST_APPLIED) else value
        for name, value in dict(metadata["annotations"] or {}).items()  # type: ignore[arg-type]
    }
    return {**metadata, "annotations": annotations}


def _is_secret(body: Mapping[str, JsonValue]) -> bool:
    return body.get("kind") == "Secret" and "/" not in str(body.get("apiVersion"))


def _hashed(value: JsonValue, key: bytes) -> JsonValue:
    match value:
        case dict():
            return {name: _hashed(item, key) for name, item in value.items()}
        case list():
            return [_hashed(item, key) for item in value]
        case None:
            return None
        case _:
            digest = hmac.new(key, json.dumps(value).encode(), hashlib.sha256).hexdigest()
            return f"(hidden {digest[:8]})"


def _forms(value: str) -> set[str]:
    """Return the value as it is, quoted, decoded and encoded as base64."""
    forms = {value, base64.b64encode(value.encode(errors="surrogatepass")).decode()}
    with suppress(ValueError):  # most values are not base64
        forms.add(base64.b64decode(value, validate=True).decode())
    return forms | {json.dumps(form)[1:-1] for form in forms}


def _texts(value: JsonValue) -> Iterator[str]:
    match value:
        case dict():
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case str():
            yield value
        case int() | float():
            yield str(value)
