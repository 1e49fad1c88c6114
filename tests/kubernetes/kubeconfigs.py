"""Configuration files of Kubernetes' clients."""

import base64
from pathlib import Path
from typing import NamedTuple

import yaml


class Kubeconfig(NamedTuple):
    """A server and a user of it."""

    url: str
    authority: bytes
    """The certificate, in PEM, of who issued that of the server."""
    token: str


def read(path: Path) -> Kubeconfig:
    """Read a configuration that `write` has written."""
    content = yaml.safe_load(path.read_text())
    [cluster], [user] = content["clusters"], content["users"]
    authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"])
    return Kubeconfig(cluster["cluster"]["server"], authority, user["user"]["token"])


def write(path: Path, url: str, authority: bytes, token: str, context: str = "test") -> Path:
    """Write a configuration with one context, readable by its owner only, and return its path."""
    cluster = {
        "server": url,
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": cluster}],
        "users": [{"name": context, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
        "current-context": context,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path
