"""Namespaces as the command line shows them."""

from trimtab.api.namespaces import NamespaceDifferenceBody, ObjectDifferenceBody
from trimtab.cli import namespace_diffs, namespace_statuses
from trimtab.messages.events import NamespaceStatus
from trimtab.testing import AT


def status(**counts: int) -> NamespaceStatus:
    return NamespaceStatus(
        cluster="east",
        namespace="shop-staging",
        project="shop",
        domain="staging",
        revision=1,
        state="ready",
        counts=counts,
        at=AT,
    )


def test_objects_count_as_ready_that_are_as_rendered() -> None:
    found = status(applied=1, unchanged=2, drifted=1, unconfirmed=3)
    assert namespace_statuses._ready(found) == "3/4"
    assert namespace_statuses._remark(found) == "1 drifted, 3 unconfirmed"


def test_objects_that_could_not_be_tried_count_too() -> None:
    found = status(failed=1).model_copy(update={"objects": ("Namespace/x", "ConfigMap/a")})
    assert namespace_statuses._ready(found) == "0/2"


def test_a_diff_leads_from_the_object_on_the_cluster_to_the_rendered_one() -> None:
    body = NamespaceDifferenceBody(
        cluster="east",
        namespace="shop-staging",
        revision=1,
        objects=(
            ObjectDifferenceBody(
                object="ConfigMap/a", live={"data": {"x": "1"}}, desired={"data": {"x": "2"}}
            ),
            ObjectDifferenceBody(object="ConfigMap/b", desired={"data": {}}),
            ObjectDifferenceBody(object="ConfigMap/c", too_large=True),
        ),
        omitted=2,
    )
    changed, missing, large, others = namespace_diffs.difference_texts(body)
    assert changed.splitlines() == [
        "--- live/east/shop-staging/ConfigMap/a",
        "+++ rendered/east/shop-staging/ConfigMap/a",
        "@@ -1,2 +1,2 @@",
        " data:",
        '-  x: "1"',
        '+  x: "2"',
    ]
    assert missing.splitlines()[-1] == "+data: {}"
    assert large == "east/shop-staging/ConfigMap/c differs, and is too large to be shown"
    assert others == "east/shop-staging: 2 more objects differ"
