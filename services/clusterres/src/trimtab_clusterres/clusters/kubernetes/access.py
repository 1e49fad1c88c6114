"""How an API server is reached: the client's configuration from a kubeconfig or from the pod."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from trimtab.errors import NotFound, Rejected, Unavailable


@dataclass(frozen=True)
class Kubeconfig:
    """A context of a kubeconfig file; the current one where none is named."""

    path: Path
    context: str | None = None

    def check(self) -> None:
        """Raise `trimtab.errors.Rejected` where the file does not have the context."""
        names = [name for name in self._contexts() if name]
        context = self.context or self._content().get("current-context")
        if not context:
            raise Rejected(f"{self.path}: no current-context; set context to one of {names}")
        if context not in names:
            raise NotFound.among(f"context of {self.path}", str(context), names)

    async def configuration(self) -> Configuration:
        """Read the file and get the credentials, which may run a plug-in."""
        configuration = Configuration()
        try:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                str(self.path), self.context, configuration, persist_config=False
            )
        # A plug-in or an identity provider fails in any way.
        except Exception as error:
            raise Unavailable(f"{self.path}: no credentials: {error}") from error
        return configuration

    def _contexts(self) -> Iterable[str]:
        contexts = self._content().get("contexts")
        found = contexts if isinstance(contexts, list) else []
        return [str(one.get("name", "")) for one in found if isinstance(one, dict)]

    def _content(self) -> dict[str, object]:
        try:
            content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Rejected(f"{self.path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Rejected(f"{self.path}: not a kubeconfig: it is not YAML") from error
        if not isinstance(content, dict):
            raise Rejected(f"{self.path}: not a kubeconfig: it has no contexts")
        return content


@dataclass(frozen=True)
class InCluster:
    """The service account of the pod that this process runs in."""

    def check(self) -> None:
        """Raise `trimtab.errors.Rejected` outside of a pod."""
        if not os.environ.get("KUBERNETES_SERVICE_HOST"):
            raise Rejected("in_cluster needs a pod: KUBERNETES_SERVICE_HOST is not set")

    async def configuration(self) -> Configuration:
        """Read the token of the service account; the client reads it again every minute."""
        configuration = Configuration()
        try:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise Unavailable(f"in_cluster: {error}") from error
        return configuration


Access = Kubeconfig | InCluster
