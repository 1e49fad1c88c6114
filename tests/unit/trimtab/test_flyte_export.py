"""Attribute files of flytectl that an export has, and what it reports."""

from typing import Any

import pytest

from trimtab import kinds
from trimtab.api.settings import DocumentBody
from trimtab.cli import attribute_files
from trimtab.flyte.exporting import files_of
from trimtab.kinds import forms
from trimtab.levels import Scope


def body(kind: str, document: dict[str, Any], **parts: str) -> DocumentBody:
    return DocumentBody(kind=kind, document=document, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "kind",
    [
        "task_resource",
        "cluster_resource",
        "execution_queue",
        "execution_cluster_label",
        "plugin_override",
        "workflow_execution_config",
    ],
)
def test_a_file_is_read_as_the_record_that_it_is_from(kind: str) -> None:
    found = kinds.by_name(kind)
    document = forms.sample(found)
    [file] = files_of([body(kind, document, project="shop", domain="staging")]).files
    read = attribute_files.of_content("file", file.content, domain_wide=False)
    scope = Scope("staging", "shop")
    assert read.scope_parts == {"project": "shop", "domain": "staging"}
    assert read.document(found, scope) == found.to_document(found.parse(document, scope))
    assert file.path == f"project-domain/shop/staging/{found.noun}.yaml"


def test_a_quantity_that_is_unset_is_zero_in_a_file() -> None:
    document = {"limits": {"cpu": "1"}, "unset": ["limits.gpu"]}
    found = files_of([body("task_resource", document, project="shop")])
    [file] = found.files
    assert file.content == {"project": "shop", "limits": {"cpu": "1", "gpu": "0"}}
    assert found.lost == []


@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        (body("execution_queue", {"tags": ["a"]}), "no rows of a platform"),
        (body("execution_queue", {"tags": ["a"]}, domain="staging"), "no rows of a domain"),
        (
            body(
                "execution_queue",
                {"tags": ["a"]},
                domain="staging",
                project="shop",
                workflow="pay",
                launch_plan="daily",
            ),
            "no rows of a launch-plan",
        ),
        (body("quality_of_service", {"tier": "HIGH"}, project="shop"), "no command"),
        (body("workflow_priority", {"priority": 1}, project="shop"), "no such kind"),
        (body("plugin_override", {"overrides": {}}, project="shop"), "refuses a plugin override"),
        (body("task_resource", {"over_limit": "clamp"}, project="shop"), "sets nothing"),
    ],
)
def test_a_record_that_flyte_cannot_have_is_reported(lost: DocumentBody, reason: str) -> None:
    found = files_of([lost])
    assert found.files == []
    assert reason in found.lost[0].reason


def test_parts_that_flyte_cannot_have_are_reported() -> None:
    document = {"limits": {"cpu": "1"}, "over_limit": "clamp"}
    labels = {"labels": {"a": "b"}, "unset": ["envs"]}
    found = files_of(
        [
            body("task_resource", document, project="shop"),
            body("workflow_execution_config", labels, project="shop"),
        ]
    )
    assert len(found.files) == 2
    assert [lost.reason for lost in found.lost] == [
        "Flyte has no field over_limit",
        "Flyte cannot unset envs",
    ]


def test_the_files_do_not_depend_on_the_order_of_the_documents() -> None:
    bodies = [
        body("execution_queue", {"tags": [tag]}, project="shop", domain=domain)
        for tag, domain in (("b", "staging"), ("a", "development"))
    ]
    assert files_of(bodies).files == files_of(reversed(bodies)).files
