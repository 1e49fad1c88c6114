"""The checks of ``trimtab doctor``."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from trimtab.api.doctor import ClusterReport, ClusterresBody, ClusterresReport
from trimtab.api.entities import ClusterBody
from trimtab.cli.checks import CHECKS, Evidence, Finding, findings
from trimtab.cli.status import Part
from trimtab.errors import Forbidden, Unauthorized, Unavailable
from trimtab.messages.events import NamespaceStatus
from trimtab.testing import AT


def report(**fields: object) -> ClusterresBody:
    east = ClusterReport(name="east", objects=3, at=AT)
    content = {"revision": 7, "clusters": (east,), **fields}
    return ClusterresBody(report=ClusterresReport.model_validate(content))


def status(namespace: str, state: str = "ready", error: str = "") -> NamespaceStatus:
    content = {"cluster": "east", "namespace": namespace, "state": state, "error": error, "at": AT}
    return NamespaceStatus.model_validate(
        {**content, "project": "shop", "domain": "dev", "revision": 1}
    )


HEALTHY = Evidence(
    parts=[Part(name="admin", state="ready"), Part(name="propeller", state="unknown")],
    clusterres=report(),
    clusters=[ClusterBody(name="east"), ClusterBody(name="west", enabled=False)],
    namespaces=[status("shop-dev")],
)


def wrong(evidence: Evidence) -> Sequence[Finding]:
    return [finding for finding in findings(evidence) if finding.state != "ok"]


def test_a_healthy_installation_has_one_good_finding_for_each_check() -> None:
    found = findings(HEALTHY)
    assert [(finding.check, finding.state) for finding in found] == [(c, "ok") for c in CHECKS]
    assert found[1].message == "ready: admin; not visible from here: propeller"


def test_without_an_answer_of_admin_only_that_is_found() -> None:
    error = Unauthorized("the API token is unknown")
    [access, services] = findings(Evidence(HEALTHY.parts, error))
    assert (access.state, access.message) == ("problem", "the API token is unknown")
    assert "TRIMTAB_TOKEN" in access.next
    assert services.state == "ok"
    [alone] = findings(Evidence(status_error=Unavailable("no Trimtab runs")))
    assert (alone.check, alone.state) == ("access", "problem")


@pytest.mark.parametrize(
    ("evidence", "check", "state", "message"),
    [
        (
            replace(
                HEALTHY, parts=[Part(name="admin", state="not ready", reasons={"nats": "off"})]
            ),
            "services",
            "problem",
            "admin is not ready: nats: off",
        ),
        (
            replace(HEALTHY, clusterres=ClusterresBody(error="no reply within 3 s")),
            "clusterres",
            "problem",
            "clusterres does not answer admin: no reply within 3 s",
        ),
        (
            replace(HEALTHY, clusterres=Forbidden("only viewers")),
            "clusterres",
            "warning",
            "the state of clusterres cannot be read: only viewers",
        ),
        (
            replace(HEALTHY, clusterres=report(reasons={"settings": "stale"})),
            "clusterres",
            "problem",
            "clusterres is not ready: settings: stale",
        ),
        (
            replace(
                HEALTHY,
                clusterres=report(
                    clusters=(ClusterReport(name="east", templates_error="not YAML", at=AT),)
                ),
            ),
            "templates",
            "problem",
            "cluster east: not YAML",
        ),
        (
            replace(HEALTHY, clusterres=report(clusters=())),
            "clusters",
            "problem",
            "cluster east is declared, and clusterres is not configured for it",
        ),
        (
            replace(
                HEALTHY,
                clusterres=report(
                    clusters=(ClusterReport(name="east", missing=("no permission to x",), at=AT),)
                ),
            ),
            "clusters",
            "problem",
            "on cluster east clusterres has a problem: no permission to x",
        ),
        (
            replace(
                HEALTHY,
                clusterres=report(clusters=(ClusterReport(name="east", error="refused", at=AT),)),
            ),
            "clusters",
            "problem",
            "cluster east cannot be checked: refused",
        ),
        (
            replace(HEALTHY, clusters=[ClusterBody(name="east", enabled=False)]),
            "clusters",
            "warning",
            "no cluster is declared and enabled, so no namespaces are made",
        ),
        (
            replace(HEALTHY, namespaces=[status("shop-dev", "failed", "no value for team")]),
            "namespaces",
            "problem",
            "namespace shop-dev on cluster east fails: no value for team",
        ),
    ],
)
def test_each_fault_is_one_finding_with_a_next_step(
    evidence: Evidence, check: str, state: str, message: str
) -> None:
    [finding] = wrong(evidence)
    assert (finding.check, finding.state, finding.message) == (check, state, message)
    assert finding.next


def test_a_cluster_that_only_clusterres_knows_is_a_warning() -> None:
    clusters = (ClusterReport(name="east", at=AT), ClusterReport(name="old", at=AT))
    [finding] = wrong(replace(HEALTHY, clusterres=report(clusters=clusters)))
    assert (finding.state, "old, which is not declared" in finding.message) == ("warning", True)


def test_the_first_failing_namespaces_are_named_and_the_others_counted() -> None:
    failed = [status(f"shop-{number}", "failed", "e") for number in range(9)]
    found = wrong(replace(HEALTHY, namespaces=failed))
    assert len(found) == 6
    assert found[-1].message == "4 more namespaces fail"
