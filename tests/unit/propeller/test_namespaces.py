"""Whether the namespace that an execution needs can be used, and if not, why."""

from typing import Literal

import pytest

from trimtab.messages.events import ClusterChanged, NamespaceStatus
from trimtab.testing import AT
from trimtab_propeller.namespaces import problem

EAST = ClusterChanged(name="east")
NOT_READY = "namespace shop-dev on cluster east is not ready: "


def status(
    state: Literal["ready", "failed"], *, usable: bool = False, error: str = ""
) -> NamespaceStatus:
    return NamespaceStatus(
        cluster="east",
        namespace="shop-dev",
        project="shop",
        domain="dev",
        revision=1,
        state=state,
        usable=usable,
        error=error,
        at=AT,
    )


@pytest.mark.parametrize(
    "known",
    [
        status("ready", usable=True),
        status("failed", usable=True, error="a later change fails"),
        status("ready"),  # of a release that does not know `usable`
    ],
)
def test_a_namespace_that_was_applied_once_can_be_used(known: NamespaceStatus) -> None:
    assert problem(EAST, "shop-dev", known) == ""


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (status("failed", error="ResourceQuota/q: no"), "ResourceQuota/q: no"),
        (status("failed", error="x" * 9_000), "x" * 500),
        (status("failed"), "its state is failed"),
        (None, "clusterres has not published its status"),
    ],
)
def test_the_problem_is_the_error_of_the_status(known: NamespaceStatus | None, why: str) -> None:
    assert problem(EAST, "shop-dev", known) == NOT_READY + why


def test_a_disabled_cluster_has_no_new_namespaces() -> None:
    disabled = EAST.model_copy(update={"enabled": False})
    known = status("failed", error="old")
    assert problem(disabled, "shop-dev", known) == NOT_READY + "the cluster is disabled"


def test_no_namespace_is_needed_on_a_cluster_that_is_not_declared() -> None:
    assert problem(None, "shop-dev", None) == ""
