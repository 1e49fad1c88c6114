"""Where the address and the credentials of an API server are found."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from trimtab.errors import NotFound, Rejected


@dataclass(frozen=True)
class Kubeconfig:
    """A context of a kubeconfig file; the current one where none is named."""

    path: Path
    context: str | None = None

    def check(self) -> None:
        """Raise `trimtab.errors.Rejected` where the file does not have the context."""
        content = self._content()
        contexts = content.get("contexts")
        found = contexts if isinstance(contexts, list) else []
        names = [str(one["name"]) for one in found if isinstance(one, dict) and "name" in one]
        context = str(self.context or content.get("current-context") or "")
        if not context:
            listed = ", ".join(names) or "none"
            raise Rejected(f"{self.path} has no current-context; name a context, of: {listed}")
        if context not in names:
            raise NotFound.among(f"context of {self.path}", context, names)

    def _content(self) -> dict[str, object]:
        try:
            content = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise Rejected(f"{self.path}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Rejected(f"{self.path} is not a kubeconfig: it is not YAML") from error
        if not isinstance(content, dict):
            raise Rejected(f"{self.path} is not a kubeconfig: it has no contexts")
        return content


@dataclass(frozen=True)
class InCluster:
    """The service account of the pod that this process runs in."""

    def check(self) -> None:
        """Raise `trimtab.errors.Rejected` outside of a pod."""
        if not os.environ.get("KUBERNETES_SERVICE_HOST"):
            raise Rejected("it works in a pod only: KUBERNETES_SERVICE_HOST is not set")


Access = Kubeconfig | InCluster
