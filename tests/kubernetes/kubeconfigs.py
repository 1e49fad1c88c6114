"""Configuration files of Kubernetes' clients."""

import base64
from pathlib import Path

import yaml


def write(path: Path, url: str, authority: bytes, token: str, context: str = "test") -> Path:
    """Write a configuration with one context, and return its path.

    ``authority`` is the certificate, in PEM, of who issued that of the server.
    """
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
