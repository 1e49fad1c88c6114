"""The status of a namespace on a cluster, as it is published on NAMESPACES."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.client import Client

from trimtab.errors import TrimtabError
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import NamespaceStatus, ObjectStatus
from trimtab.runtime import bus
from trimtab.templates.manifests import Manifest
from trimtab_clusterres.clusters.port import Result


@dataclass(frozen=True)
class Attempt:
    """How one try to bring a namespace up to date went."""

    revision: int = 0
    """The revision of the settings that were rendered; 0 where the try did not come so far."""
    manifests: Sequence[Manifest] = ()
    """The rendered objects; empty where rendering failed."""
    results: Sequence[Result] = ()
    """The result of each object; empty where nothing was applied."""
    error: str = ""
    """Why the namespace is not up to date; empty where it is."""
    seconds: float = 0.0


def status(cluster: str, namespace: str, target: Scope, attempt: Attempt) -> NamespaceStatus:
    """Return the status of a namespace; ``target`` is its first project and domain."""
    return NamespaceStatus(
        cluster=cluster,
        namespace=namespace,
        project=target.project,
        domain=target.domain,
        revision=attempt.revision,
        state="failed" if attempt.error else "ready",
        usable=not attempt.error,
        objects=tuple(str(manifest) for manifest in attempt.manifests),
        details=tuple(_detail(result) for result in attempt.results),
        seconds=round(attempt.seconds, 3),
        error=attempt.error,
        at=datetime.now(UTC),
    )


async def publish(client: Client, status: NamespaceStatus) -> None:
    """Publish a status. Raises `trimtab.errors.Unavailable`."""
    subject = subjects.namespace(status.cluster, status.namespace)
    await bus.publish(client, subjects.NAMESPACES, subject, status)


def first_failure(results: Iterable[Result]) -> str:
    """Return the error of the first object that is not as rendered; empty where none is."""
    failed = (one for one in results if one.outcome in ("failed", "conflicted"))
    return next((f"{one.key}: {one.message}" for one in failed), "")


def error_text(failure: Exception) -> str:
    """Return the text of a failure as a status can hold it."""
    text = str(failure)
    if not isinstance(failure, TrimtabError):
        text = f"a defect of clusterres: {type(failure).__name__}: {text}"
    # The name of a file may be no text, and a status could not hold it.
    return text.encode(errors="backslashreplace").decode()


def _detail(result: Result) -> ObjectStatus:
    return ObjectStatus(
        object=str(result.key),
        outcome=result.outcome,
        message=result.message,
        seconds=round(result.seconds, 3),
    )
