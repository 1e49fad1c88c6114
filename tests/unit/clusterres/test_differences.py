"""The reply to a request for the difference of a namespace: of limited size, without Secrets."""

from typing import Any

from trimtab.api.namespaces import NamespaceDifferenceBody
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.port import Difference
from trimtab_clusterres.replies.differences import reply_body


def difference(name: str, live: Any, desired: Any, kind: str = "ConfigMap") -> Difference:
    def body(content: Any) -> Any:
        metadata = {"name": name, "managedFields": [content], "resourceVersion": str(content)}
        head = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
        return None if content is None else {**head, "data": content}

    return Difference(ObjectKey("", kind, name), body(live), body(desired))


def reply(*differences: Difference) -> NamespaceDifferenceBody:
    body = reply_body("east", "shop-staging", 3, differences)
    assert len(body) < 1_000_000
    return NamespaceDifferenceBody.model_validate_json(body)


def test_an_object_is_shown_without_what_each_write_changes() -> None:
    [shown] = reply(difference("a", None, {"x": "1"})).objects
    assert (shown.object, shown.live) == ("ConfigMap/a", None)
    assert shown.desired == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a"},
        "data": {"x": "1"},
    }


def test_of_a_secret_only_which_values_differ_is_shown() -> None:
    live, desired = {"same": "c2FtZQ==", "key": "b2xk"}, {"same": "c2FtZQ==", "key": "bmV3"}
    [shown] = reply(difference("a", live, desired, "Secret")).objects
    assert shown.live is not None
    assert shown.desired is not None
    before: Any = shown.live["data"]
    after: Any = shown.desired["data"]
    assert before["same"] == after["same"]
    assert before["key"] != after["key"]
    text = shown.model_dump_json()
    assert not any(value in text for value in ("c2FtZQ", "b2xk", "bmV3"))


def test_an_object_that_is_too_large_is_named_only() -> None:
    found = reply(difference("a", {"x": "9" * 300_000}, {}), difference("b", {}, {"x": "1"}))
    assert [(one.object, one.too_large) for one in found.objects] == [
        ("ConfigMap/a", True),
        ("ConfigMap/b", False),
    ]
    assert (found.objects[0].live, found.omitted) == (None, 0)


def test_objects_without_room_are_counted() -> None:
    found = reply(*(difference(f"m{n}", {"x": "9" * 90_000}, {}) for n in range(30)))
    assert len(found.objects) + found.omitted == 30
    assert found.omitted > 0
