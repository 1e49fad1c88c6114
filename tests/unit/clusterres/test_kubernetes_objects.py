"""The pure parts of Kubernetes clusters: owned fields, the inventory's annotation, refusals."""

from typing import Any

import pytest

from trimtab.errors import Rejected, Unavailable
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.kubernetes import inventory, objects, problems
from trimtab_clusterres.clusters.kubernetes.problems import Broken, Refused
from trimtab_clusterres.clusters.port import Entry, Inventory

PORTS = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}}}}}
KEY = ObjectKey("", "ConfigMap", "a")


def entry(manager: str, fields: Any, operation: str = "Apply", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def live(*entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "managedFields": list(entries)}, **fields}


OURS = entry("trimtab-clusterres", {"f:data": {"f:x": {}}})


def test_the_digest_of_owned_fields_follows_their_values_only() -> None:
    before = objects.owned_digest(live(OURS, data={"x": "1", "y": "1"}))
    theirs = entry("editor", {"f:data": {"f:y": {}}}, "Update")
    status = {"used": "5"}
    assert (
        objects.owned_digest(live(OURS, theirs, data={"x": "1", "y": "2"}, status=status)) == before
    )
    assert objects.owned_digest(live(OURS, data={"x": "2", "y": "1"})) != before
    taken = entry("trimtab-clusterres", {"f:data": {}})
    assert objects.owned_digest(live(taken, theirs, data={"x": "1", "y": "1"})) != before


def test_the_digest_of_owned_fields_finds_items_of_lists() -> None:
    ours = entry("trimtab-clusterres", PORTS)
    ports = [{"name": "b", "port": 81, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}]
    before = objects.owned_digest(live(ours, spec={"ports": ports}))
    assert objects.owned_digest(live(ours, spec={"ports": ports[::-1]})) == before
    named = [ports[0], ports[1] | {"name": "a"}]
    assert objects.owned_digest(live(ours, spec={"ports": named})) != before


@pytest.mark.parametrize(
    ("entries", "is_ours"),
    [
        ([], False),
        ([OURS], True),
        ([OURS, entry("trimtab-clusterres-inventory", {})], True),
        ([OURS, entry("kube-controller-manager", {}, "Update", subresource="status")], True),
        ([OURS, entry("editor", {}, "Update")], False),
        ([entry("trimtab-clusterres", {}, "Update")], False),
    ],
)
def test_an_object_is_only_ours_without_another_manager(
    entries: list[dict[str, Any]], is_ours: bool
) -> None:
    assert objects.is_only_ours(live(*entries)) is is_ours


@pytest.mark.parametrize(
    ("path", "has"),
    [
        (".data.x", True),
        (".data.a.b", True),
        (".data.a", False),
        (".spec.hard", False),
        ('.spec.ports[port=80,protocol="TCP"].name', True),
        ('.spec.ports[port=80,protocol="TCP"].nodePort', False),
        ('.spec.ports[port=81,protocol="TCP"].name', False),
        ('.metadata.finalizers[="example.com/a]b"]', True),
        ('.metadata.finalizers[="other"]', False),
    ],
)
def test_fields_in_conflict_are_looked_up_in_an_earlier_rendering(path: str, has: bool) -> None:
    body = {
        "metadata": {"finalizers": ["example.com/a]b"]},
        "data": {"x": "1", "a.b": "1"},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }
    assert objects.has_field(body, path) is has


def test_an_inventory_is_read_as_it_was_written() -> None:
    entries = {
        KEY: Entry(created=True, uid="u", digest="d"),
        ObjectKey("example.com", "Widget", 'odd "name"'): Entry(created=False),
    }
    written = inventory.manifest("ns", "7", entries)
    assert written["metadata"]["resourceVersion"] == "7"  # type: ignore[index,call-overload]
    assert inventory.read(written) == Inventory(entries)
    assert inventory.manifest("ns", "7", {})["metadata"] == {"name": "ns", "resourceVersion": "7"}


@pytest.mark.parametrize("text", ["{", "[]", '{"objects": 1}', '{"objects": [{"name": "a"}]}', ""])
def test_an_unreadable_inventory_is_lost(text: str) -> None:
    found = {"metadata": {"annotations": {objects.INVENTORY: text}}}
    assert inventory.read(found) == Inventory()


@pytest.mark.parametrize(
    ("kind", "name"), [("Namespace", "other"), ("Secret", ".."), ("Secret", "."), ("Secret", "a/b")]
)
def test_an_entry_that_no_template_can_make_is_no_part_of_an_inventory(
    kind: str, name: str
) -> None:
    entries = {ObjectKey("", kind, name): Entry(created=True, uid="u"), KEY: Entry(created=True)}
    assert inventory.read(inventory.manifest("ns", "7", entries)).entries.keys() == {KEY}


def test_an_inventory_that_cannot_be_stored_is_refused() -> None:
    entries = {ObjectKey("", "ConfigMap", f"{n:0250d}"): Entry(created=True) for n in range(700)}
    with pytest.raises(Rejected, match=r"record of 700 objects has 2.* bytes; allowed: 200000"):
        inventory.manifest("ns", "7", entries)


def status(message: str, *causes: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": "Status",
        "message": message,
        "reason": "R",
        "details": {"causes": list(causes)},
    }


def test_a_refusal_has_the_message_and_the_fields_in_conflict() -> None:
    conflict = {"reason": "FieldManagerConflict", "message": "m", "field": ".data.x"}
    found = problems.refusal("https://h", 409, status("conflict", conflict))
    assert isinstance(found, Refused)
    assert str(found) == "conflict"
    assert [cause.field for cause in found.conflicts] == [".data.x"]


def test_an_answer_without_a_status_object_is_named_by_its_host() -> None:
    assert str(problems.refusal("https://h", 404, None)) == "https://h answered 404"
    found = problems.refusal("https://h", 502, None)
    assert isinstance(found, Unavailable)
    assert str(found) == "https://h answered 502 Bad Gateway"


def test_a_failure_at_one_request_does_not_mean_that_the_api_server_is_away() -> None:
    assert isinstance(problems.refusal("https://h", 500, status("webhook failed")), Broken)
    busy = problems.refusal("https://h", 429, status("wait"), "7")
    assert isinstance(busy, Unavailable)
    assert not isinstance(busy, Broken)
    assert busy.delay_seconds == 7


def test_a_long_message_is_shortened() -> None:
    assert len(str(problems.refusal("https://h", 400, status("x" * 600_000)))) < 1_100


@pytest.mark.parametrize(
    "message",
    [
        '.stringData.key: expected string, got &value.valueUnstructured{Value:"hidden"}',
        'Secret "s" is invalid: data[.]: Invalid value: "hidden": a valid config key',
        'data: Duplicate value: "hidden"',
    ],
)
def test_values_of_secrets_are_cut_out_of_messages(message: str) -> None:
    shown = problems.without_values(message)
    assert "hidden" not in shown
    assert shown.startswith(message[:4])
