"""The diff that `update` shows: the lines of Go's yaml.v3."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from trimtab import kinds
from trimtab.cli.diffs import unified_diff

CLUSTER = kinds.by_name("cluster_resource")


def first_lines(kind: str, after: dict[str, object]) -> list[str]:
    """Return the lines that a first update adds, which flytectl 1.16.8 was recorded with."""
    lines = unified_diff(kinds.by_name(kind), None, after).splitlines()
    return [line[1:] for line in lines[4:-1]]


def test_the_items_of_a_list_of_objects_are_indented_as_by_go() -> None:
    entry = {"task_type": "python_task", "plugin_id": ["a", "b"], "missing_plugin_behavior": 1}
    assert first_lines("plugin_override", {"overrides": [entry]}) == [
        "PluginOverrides:",
        "    overrides:",
        "        - missing_plugin_behavior: 1",
        "          plugin_id:",
        "            - a",
        "            - b",
        "          task_type: python_task",
    ]
    assignment = {"node_ids": ["n0"], "task_type": "t", "execution_env": {"name": "e"}}
    secret = {"group": "g", "key": "k", "mount_requirement": 1}
    content = {
        "execution_env_assignments": [assignment],
        "security_context": {"run_as": {"iam_role": "r"}, "secrets": [secret]},
    }
    assert first_lines("workflow_execution_config", content) == [
        "WorkflowExecutionConfig:",
        "    execution_env_assignments:",
        "        - execution_env:",
        "            name: e",
        "          node_ids:",
        "            - n0",
        "          task_type: t",
        "    security_context:",
        "        run_as:",
        "            iam_role: r",
        "        secrets:",
        "            - group: g",
        "              key: k",
        "              mount_requirement: 1",
    ]


def test_text_of_several_lines_is_a_block() -> None:
    attributes = {"a": "multi\nline", "b": "", "c": "end\n", "d": "1", "e": "a: b"}
    assert first_lines("cluster_resource", {"attributes": attributes}) == [
        "ClusterResourceAttributes:",
        "    attributes:",
        "        a: |-",
        "            multi",
        "            line",
        '        b: ""',
        "        c: |",
        "            end",
        '        d: "1"',
        "        e: 'a: b'",
    ]


def test_text_that_ends_with_empty_lines_keeps_as_many() -> None:
    lines = first_lines("cluster_resource", {"attributes": {"a": "x\n\n", "b": "z"}})
    assert lines[2:] == ["        a: |+", "            x", "", "        b: z"]


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS | st.dictionaries(TEXTS, TEXTS)), min_size=1))
def test_each_side_of_a_diff_is_yaml_of_the_content(content: dict[str, object]) -> None:
    difference = unified_diff(CLUSTER, None, content).split("\n")
    text = "".join(f"{line[1:]}\n" for line in difference[4:-1])
    assert yaml.safe_load(text) == {"ClusterResourceAttributes": content}


def test_the_diff_of_a_first_update_starts_from_null() -> None:
    after = {"attributes": {"projectQuotaCpu": "12"}}
    assert unified_diff(CLUSTER, None, after).splitlines() == [
        "--- before",
        "+++ after",
        "@@ -1,2 +1,4 @@",
        "-null",
        "+ClusterResourceAttributes:",
        "+    attributes:",
        '+        projectQuotaCpu: "12"',
        " ",
    ]


def test_the_diff_of_a_changed_value_has_the_old_and_the_new_line() -> None:
    changes = unified_diff(CLUSTER, {"attributes": {"a": "1"}}, {"attributes": {"a": "2"}})
    assert '-        a: "1"\n+        a: "2"' in changes


def test_the_diff_ignores_the_order_of_keys() -> None:
    before, after = {"attributes": {"a": "1", "b": "2"}}, {"attributes": {"b": "2", "a": "1"}}
    assert unified_diff(CLUSTER, before, after) == ""


def test_the_diff_of_a_kind_that_flyte_does_not_have_is_titled_by_its_class() -> None:
    changes = unified_diff(kinds.by_name("workflow_priority"), None, {"priority": 5})
    assert "+WorkflowPriority:\n+    priority: 5" in changes


def test_the_diff_indents_list_items_further_than_their_key() -> None:
    changes = unified_diff(CLUSTER, None, {"unset": ["attributes.a"]})
    assert "+    unset:\n+        - attributes.a" in changes
