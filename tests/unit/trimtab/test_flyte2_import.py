"""Settings of Flyte 2 as records to import."""

from flyteidl2.settings.settings_definition_pb2 import (
    SETTING_STATE_UNSET,
    SETTING_STATE_VALUE,
    Settings,
    SettingsKey,
)

from trimtab.api.settings import DocumentBody
from trimtab.flyte.flyte2 import records
from trimtab.flyte.importing import Contents, Given, Refusal, plan
from trimtab.flyte.rows import FlyteProject

KEY = SettingsKey(org="acme", domain="staging", project="shop")


def settings() -> Settings:
    message = Settings()
    message.task_resource.max.cpu.state = SETTING_STATE_VALUE
    message.task_resource.max.cpu.quantity_value = "4"
    message.security.service_account.state = SETTING_STATE_UNSET
    return message


def test_a_value_is_a_field_and_unset_is_unset() -> None:
    found = {
        each.record.kind.name: each.record
        for each in records(KEY, settings())
        if isinstance(each, Given)
    }
    assert str(found["task_resource"].scope) == "project-domain shop/staging"
    assert found["task_resource"].document == {"limits": {"cpu": "4"}, "over_limit": "clamp"}
    assert found["workflow_execution_config"].document == {
        "unset": ["security_context.run_as.k8s_service_account"]
    }


def _is(each: Given | Refusal) -> bool:
    return isinstance(each, Given)


def test_a_leaf_that_trimtab_refuses_is_reported_and_the_others_are_imported() -> None:
    message = settings()
    message.run.default_queue.state = SETTING_STATE_VALUE
    message.run.default_queue.string_value = "fast"
    found = list(records(KEY, message))
    assert [each.what for each in found if isinstance(each, Refusal)] == [
        "run.default_queue of project-domain shop/staging"
    ]
    assert sum(map(_is, found)) == 2


def test_a_second_import_changes_nothing_and_keeps_what_flyte_2_lacks() -> None:
    given = [each for each in records(KEY, settings()) if isinstance(each, Given)]
    contents = Contents(["staging"], [FlyteProject("shop")], given, has_flyte_rule=False)
    first = plan(contents, [])
    stored = [each.document.model_copy(update={"version": 3}) for each in first.planned]
    assert plan(contents, stored).documents == []
    more = [_with_default(body) if body.kind == "task_resource" else body for body in stored]
    assert plan(contents, more).documents == []
    assert first.compared == 0


def _with_default(body: DocumentBody) -> DocumentBody:
    return body.model_copy(update={"document": {**body.document, "defaults": {"cpu": "1"}}})
