"""The objects that templates render to. Pure."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pydantic import JsonValue


class ObjectKey(NamedTuple):
    """Identifies an object within a namespace, whatever the version of its API."""

    group: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object, ready to be applied."""

    group: str
    """The API group; empty for the core group."""
    kind: str
    name: str
    body: dict[str, JsonValue]
    """The object as the template has it: ``metadata.namespace`` is absent or the computed one."""

    @property
    def api_version(self) -> str:
        return str(self.body["apiVersion"])

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.group, self.kind, self.name)

    @cached_property
    def digest(self) -> str:
        """Names the whole content."""
        text = json.dumps(self.body, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return str(self.key)

    def placed(self, namespace: str) -> "Manifest":
        """Return the manifest of a namespaced object with its ``metadata.namespace``."""
        metadata = self.body.get("metadata")
        assert isinstance(metadata, dict)
        if metadata.get("namespace") == namespace:
            return self
        # The name comes first, as people write it.
        first: dict[str, JsonValue] = {"name": self.name, "namespace": namespace}
        body = self.body | {"metadata": first | metadata | {"namespace": namespace}}
        return Manifest(self.group, self.kind, self.name, body)
