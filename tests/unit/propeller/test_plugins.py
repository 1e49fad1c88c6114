"""The plugin that the tasks of a type run by."""

from typing import Any

import pytest

from tests.unit.propeller.building import PROJECT_DOMAIN, record, request, settings
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.resolutions import Resolution
from trimtab.resolution.limits import Refusal
from trimtab.workflows.graphs.graph import Task
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.executors.process import CAPABILITIES
from trimtab_propeller.resolution import resolve

EXECUTOR = Capabilities("any", plugins=("pod", "spark", "ray"))
WORKFLOW = Scope("development", "shop", "nightly")


def resolved(
    override: dict[str, Any], executor: Capabilities = EXECUTOR, *others: Any, type_: str = "t.x"
) -> tuple[Resolution, Attempt]:
    wanted = request()
    task = Task(name="train", type=type_)
    workflow = wanted.workflow.model_copy(update={"tasks": {"train": task}})
    wanted = wanted.model_copy(update={"workflow": workflow})
    own = record("plugin_override", {"overrides": {"t.x": override}})
    resolution = resolve(wanted, settings(own, *others), executor)
    [node] = workflow.nodes
    return resolution, Attempt.from_resolution(wanted, resolution, node, 0, {})


def test_the_first_installed_plugin_of_the_tasks_type_runs_it() -> None:
    resolution, attempt = resolved({"plugin_id": ["dask", "ray", "spark"]})
    [plugin] = (value for value in resolution.nodes["n0"] if value.path == "plugin")
    assert (plugin.value, plugin.note) == ("ray", "not installed: dask")
    assert plugin.source == "plugin_override.overrides.t.x"
    assert (plugin.scope, plugin.revision) == (str(PROJECT_DOMAIN), 1)
    assert attempt.plugin == "ray"


def test_the_override_of_another_type_does_not_apply() -> None:
    for type_ in ("t", "t.x.y", "T.x"):
        resolution, attempt = resolved({"plugin_id": ["dask"]}, type_=type_)
        assert resolution.value("n0", "plugin") is None
        assert attempt.plugin == ""


def test_a_narrower_override_replaces_that_of_a_broader_record() -> None:
    narrow = record("plugin_override", {"overrides": {"t.x": {"plugin_id": ["spark"]}}}, WORKFLOW)
    broad = record("plugin_override", {"overrides": {"t.x": {"plugin_id": ["dask"]}}}, PLATFORM)
    resolution, _ = resolved({"plugin_id": ["ray"]}, EXECUTOR, narrow, broad)
    assert resolution.value("n0", "plugin") == "spark"


@pytest.mark.parametrize("behavior", [{}, {"missing_plugin_behavior": "FAIL"}])
def test_an_execution_none_of_whose_plugins_is_installed_is_refused(
    behavior: dict[str, str],
) -> None:
    with pytest.raises(Refusal) as refused:
        resolved({"plugin_id": ["dask", "mpi"], **behavior})
    assert str(refused.value) == (
        "none of the plugins dask, mpi is installed, which plugin_override.overrides.t.x of "
        f"{PROJECT_DOMAIN} names for tasks of type 't.x'; the any executor has pod, spark, ray"
    )
    assert (refused.value.node, refused.value.scope) == ("n0", str(PROJECT_DOMAIN))
    assert refused.value.path == "plugin_override.overrides.t.x"


def test_the_default_plugin_runs_the_task_where_the_override_allows_it() -> None:
    override = {"plugin_id": ["dask"], "missing_plugin_behavior": "USE_DEFAULT"}
    resolution, attempt = resolved(override)
    [plugin] = (value for value in resolution.nodes["n0"] if value.path == "plugin")
    assert (plugin.value, plugin.note) == ("pod", "the default; not installed: dask")
    assert attempt.plugin == "pod"


@pytest.mark.parametrize("override", [{"missing_plugin_behavior": "FAIL"}, {"plugin_id": []}])
def test_an_override_without_a_plugin_leaves_the_default(override: dict[str, Any]) -> None:
    resolution, _ = resolved({"missing_plugin_behavior": "FAIL", **override})
    [plugin] = (value for value in resolution.nodes["n0"] if value.path == "plugin")
    assert (plugin.value, plugin.note) == ("pod", "the default, as the override names no plugin")


def test_the_process_executor_has_one_plugin() -> None:
    assert resolved({"plugin_id": ["spark", "process"]}, CAPABILITIES)[1].plugin == "process"
    with pytest.raises(Refusal, match="the process executor has process"):
        resolved({"plugin_id": ["spark"]}, CAPABILITIES)
