"""Labels and annotations that propeller would refuse are refused when an execution is created."""

from collections.abc import Mapping
from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged, RecordChanged
from trimtab.messages.executions import Request
from trimtab.settings.state import Settings
from trimtab.testing import request
from trimtab_admin.executions import metadata_limits
from trimtab_admin.executions.target_settings import TargetSettings

SCOPE = Scope("development", "flyteexamples")
CONFIG = "workflow_execution_config"


def numbered(name: str, count: int) -> dict[str, str]:
    return {f"{name}{number}": "v" for number in range(count)}


def settings(document: dict[str, Any], labels: Mapping[str, str] = {}) -> TargetSettings:
    after = Settings()
    after.apply(ProjectChanged(name="flyteexamples", labels=dict(labels)), 1)
    after.apply(RecordChanged.at(SCOPE, CONFIG, document), 2)
    return TargetSettings.of(after, SCOPE)


def wanted(plan: dict[str, Any], **fields: Any) -> Request:
    base = request()
    changed = base.launch_plan.model_copy(update=plan)
    return base.model_copy(update={"launch_plan": changed, **fields})


def test_labels_of_project_settings_launch_plan_and_request_count_once_by_key() -> None:
    known = settings({"labels": numbered("s", 16)}, numbered("p", 16))
    metadata_limits.check(
        wanted({"labels": numbered("l", 16)}, labels={"l0": "w", "s0": "w", "p0": "w"}), known
    )
    with pytest.raises(Invalid, match="at most 48 of all sources together") as refused:
        metadata_limits.check(wanted({"labels": numbered("l", 16)}, labels={"x": "w"}), known)
    assert refused.value.path == "labels"
    assert "16 of project flyteexamples" in refused.value.allowed
    assert "1 of the execution" in refused.value.allowed


def test_placeholders_of_annotations_are_filled_before_they_are_measured() -> None:
    text = "{{ domain }}" + "x" * (240 * 1024 - 2 - len("development"))
    metadata_limits.check(wanted({}), settings({"annotations": {"a": text[:-1]}}))
    metadata_limits.check(wanted({}), settings({"annotations": {"a": text + "x"}}))
    with pytest.raises(Invalid, match="245761 bytes"):
        metadata_limits.check(wanted({}), settings({"annotations": {"a": text + "xx"}}))


def test_a_request_cannot_set_a_reserved_key() -> None:
    with pytest.raises(Invalid, match="only Trimtab sets") as refused:
        metadata_limits.check(wanted({}, annotations={"trimtab.io/x": "1"}), settings({}))
    assert refused.value.path == "annotations.trimtab.io/x"


def test_a_reserved_label_of_a_project_is_refused_with_the_project() -> None:
    with pytest.raises(Invalid) as refused:
        metadata_limits.check(wanted({}), settings({}, {"trimtab.io/x": "1"}))
    assert refused.value.path == "labels.trimtab.io/x"
    assert refused.value.allowed.endswith("; this one is from project flyteexamples")
