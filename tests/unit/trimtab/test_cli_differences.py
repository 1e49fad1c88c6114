"""What an update shows before it asks."""

from trimtab import kinds
from trimtab.cli.differences import unified

CLUSTER = kinds.by_name("cluster_resource")


def test_a_first_update_starts_from_null() -> None:
    after = {"attributes": {"projectQuotaCpu": "12"}}
    assert unified(CLUSTER, None, after).splitlines() == [
        "--- before",
        "+++ after",
        "@@ -1,2 +1,4 @@",
        "-null",
        "+ClusterResourceAttributes:",
        "+    attributes:",
        '+        projectQuotaCpu: "12"',
        " ",
    ]


def test_a_changed_value_is_one_line_out_and_one_in() -> None:
    changes = unified(CLUSTER, {"attributes": {"a": "1"}}, {"attributes": {"a": "2"}})
    assert '-        a: "1"\n+        a: "2"' in changes


def test_another_order_of_keys_is_no_change() -> None:
    before, after = {"attributes": {"a": "1", "b": "2"}}, {"attributes": {"b": "2", "a": "1"}}
    assert unified(CLUSTER, before, after) == ""


def test_a_kind_that_flyte_does_not_have_goes_by_its_own_name() -> None:
    changes = unified(kinds.by_name("workflow_priority"), None, {"priority": 5})
    assert "+WorkflowPriority:\n+    priority: 5" in changes


def test_lists_stand_further_in_than_their_key() -> None:
    changes = unified(CLUSTER, None, {"unset": ["attributes.a"]})
    assert "+    unset:\n+        - attributes.a" in changes
