"""The checks of ``trimtab doctor``. Pure: each reads the evidence and returns what it finds.

A new check is a function and a row of `CHECKS`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from trimtab.api.doctor import ClusterReport, ClusterresBody
from trimtab.api.entities import ClusterBody
from trimtab.cli.status import Part
from trimtab.errors import TrimtabError
from trimtab.messages.events import NamespaceStatus

_SHOWN = 5
"""So many failing namespaces are named; the others are counted."""
_MAX_ERROR = 300

State = Literal["ok", "warning", "problem"]


class Finding(BaseModel):
    """The result of a check, or of a part of it."""

    check: str = ""
    state: State
    message: str
    next: str = ""
    """The next step; empty where none is needed."""


@dataclass(frozen=True)
class Evidence:
    """The answers of an installation; an error where there is no answer."""

    parts: Sequence[Part] = ()
    status_error: TrimtabError | None = None
    clusterres: ClusterresBody | TrimtabError | None = None
    clusters: Sequence[ClusterBody] | TrimtabError = ()
    namespaces: Sequence[NamespaceStatus] | TrimtabError = ()


def findings(evidence: Evidence) -> Sequence[Finding]:
    """Return the findings of all checks, in their order.

    Where admin does not answer, the checks that need its answers find nothing.
    """
    return [
        finding.model_copy(update={"check": name})
        for name, check in CHECKS.items()
        for finding in check(evidence)
    ]


def _access(evidence: Evidence) -> Iterator[Finding]:
    if (error := evidence.status_error) is None:
        yield _ok("admin answers and accepts the API token")
    else:
        yield _problem(str(error), error.code.remedy)


def _services(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.parts:
        return
    unknown = [part.name for part in evidence.parts if part.state == "unknown"]
    failing = [part for part in evidence.parts if part.state in ("not ready", "unreachable")]
    for part in failing:
        why = "".join(f": {name}: {reason}" for name, reason in part.reasons.items())
        yield _problem(
            f"{part.name} is {part.state}{why}", f"Look for the cause in the log of {part.name}."
        )
    if not failing:
        known = [part.name for part in evidence.parts if part.state == "ready"]
        others = f"; not visible from here: {', '.join(unknown)}" if unknown else ""
        yield _ok(f"ready: {', '.join(known) or 'none'}{others}")


def _clusterres(evidence: Evidence) -> Iterator[Finding]:
    log = "Start clusterres, or look for the cause in its log."
    match evidence.clusterres:
        case TrimtabError() as error:
            yield _warning(f"the state of clusterres cannot be read: {error}", error.code.remedy)
        case ClusterresBody(report=None, error=error):
            yield _problem(f"clusterres does not answer admin: {error}", log)
        case ClusterresBody(report=report) if report is not None and report.reasons:
            reasons = "; ".join(f"{part}: {why}" for part, why in report.reasons.items())
            yield _problem(f"clusterres is not ready: {reasons}", log)
        case ClusterresBody(report=report) if report is not None:
            yield _ok(f"clusterres follows the settings, at revision {report.revision}")


def _templates(evidence: Evidence) -> Iterator[Finding]:
    reports = _reports(evidence)
    errors = {report.templates_error: report.name for report in reports if report.templates_error}
    for error, name in errors.items():
        yield _problem(
            f"cluster {name}: {_cut(error)}",
            "Correct the templates; `trimtab templates lint` checks them before they are used.",
        )
    if reports and not errors:
        objects = ", ".join(f"{report.objects} for cluster {report.name}" for report in reports)
        yield _ok(f"objects in the templates: {objects}")


def _reports(evidence: Evidence) -> Sequence[ClusterReport]:
    match evidence.clusterres:
        case ClusterresBody(report=report) if report is not None:
            return report.clusters
        case _:
            return ()


def _clusters(evidence: Evidence) -> Iterator[Finding]:
    if isinstance(evidence.clusters, TrimtabError):
        yield _warning(f"the clusters cannot be listed: {evidence.clusters}")
        return
    body = evidence.clusterres
    if not isinstance(body, ClusterresBody) or body.report is None:
        return
    enabled = sorted(cluster.name for cluster in evidence.clusters if cluster.enabled)
    if not enabled:
        yield _warning(
            "no cluster is declared and enabled, so no namespaces are made",
            "Declare the clusters in the settings file of admin.",
        )
    reports = {report.name: report for report in body.report.clusters}
    for name in enabled:
        yield from _cluster(name, reports.get(name))
    for name in sorted(set(reports) - {cluster.name for cluster in evidence.clusters}):
        yield _warning(
            f"clusterres is configured for cluster {name}, which is not declared",
            "Declare it in the settings file of admin, or remove it from TRIMTAB_CLUSTERS.",
        )


def _cluster(name: str, report: ClusterReport | None) -> Iterator[Finding]:
    if report is None:
        yield _problem(
            f"cluster {name} is declared, and clusterres is not configured for it",
            "Add it to TRIMTAB_CLUSTERS of clusterres, or disable the cluster.",
        )
    elif report.error:
        yield _problem(
            f"cluster {name} cannot be checked: {_cut(report.error)}",
            "Check address, certificate and credentials of the cluster, as clusterres has them.",
        )
    else:
        for sentence in report.missing:
            yield _problem(
                f"on cluster {name} clusterres has a problem: {_cut(sentence)}",
                "Grant the permission to the account of clusterres, or correct the template.",
            )
        if not report.missing:
            yield _ok(f"cluster {name} answers, and clusterres has all permissions")


def _namespaces(evidence: Evidence) -> Iterator[Finding]:
    if isinstance(evidence.namespaces, TrimtabError):
        yield _warning(f"the namespaces cannot be listed: {evidence.namespaces}")
        return
    failed = [status for status in evidence.namespaces if status.state == "failed"]
    for status in failed[:_SHOWN]:
        yield _problem(
            f"namespace {status.namespace} on cluster {status.cluster} fails: {_cut(status.error)}",
            "`trimtab get namespaces` shows all; each is tried again.",
        )
    if len(failed) > _SHOWN:
        yield _problem(f"{len(failed) - _SHOWN} more namespaces fail")
    if not failed and evidence.status_error is None:
        yield _ok(f"none of {len(evidence.namespaces)} namespaces fails")


Check = Callable[[Evidence], Iterable[Finding]]

CHECKS: Mapping[str, Check] = {
    "access": _access,
    "services": _services,
    "clusterres": _clusterres,
    "templates": _templates,
    "clusters": _clusters,
    "namespaces": _namespaces,
}


def _ok(message: str) -> Finding:
    return Finding(state="ok", message=message)


def _warning(message: str, step: str = "") -> Finding:
    return Finding(state="warning", message=message, next=step)


def _problem(message: str, step: str = "") -> Finding:
    return Finding(state="problem", message=message, next=step)


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_ERROR else f"{text[:_MAX_ERROR]}…"
