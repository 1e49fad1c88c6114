"""The names that other distributions import, and what an import of the library loads."""

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import trimtab

LIBRARY = Path(trimtab.__file__).parent

SDK = [
    "BadModule",
    "Container",
    "ContainerTask",
    "Directory",
    "File",
    "K8sObjectMetadata",
    "K8sPod",
    "LaunchPlan",
    "LeaseLost",
    "Module",
    "Pool",
    "PythonTask",
    "ResourceEntry",
    "ResourceName",
    "Resources",
    "RuntimeMetadata",
    "TaskNodeConfigOverride",
    "load_module",
    "pools",
    "reference_launch_plan",
    "reference_task",
    "reference_workflow",
    "runtime_override_config",
    "task",
    "workflow",
]
FLYTE_RESOURCE_MANAGER = [
    "AllocationStatus",
    "Plugins",
    "ResourceConstraintsSpec",
    "ResourceManager",
    "ResourceRegistrar",
]


def run(code: str, **variables: str) -> str:
    """Return what the code prints in a fresh interpreter."""
    command, environment = [sys.executable, "-c", code], {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_names_of_the_sdk_exist_and_are_sorted_and_documented() -> None:
    assert trimtab.__all__ == SDK == sorted(SDK)
    assert [name for name in SDK if not getattr(trimtab, name).__doc__] == []


def test_the_types_of_all_names_are_pinned() -> None:
    """mypy checks this file with the services; what it uses has the types that it states."""
    tree = ast.parse((Path(__file__).parents[2] / "typing" / "sdk.py").read_text())
    [imported] = [
        {alias.name for alias in node.names}
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "trimtab"
    ]
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert set(SDK) == imported == imported & used


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("trimtab.kinds", ["Kind", "Problem", "Value"]),
        ("trimtab.levels", ["Level"]),
        ("trimtab.flyte_resource_manager", FLYTE_RESOURCE_MANAGER),
    ],
)
def test_modules_that_other_distributions_import_define_their_names(
    module: str, names: list[str]
) -> None:
    assert [name for name in names if not hasattr(import_module(module), name)] == []


def test_the_adapter_for_flyte_plugins_defines_no_other_class() -> None:
    tree = ast.parse((LIBRARY / "flyte_resource_manager.py").read_text())
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    assert sorted(name for name in classes if not name.startswith("_")) == FLYTE_RESOURCE_MANAGER


THIRD_PARTY_KIND = """
from trimtab.kinds import Kind, Value
from trimtab.levels import Level

class Colour(Value):
    name: str | None = None

KIND = Kind("colour", Colour, frozenset({Level.PROJECT}), "colour", "The colour of a project")
"""


def test_a_distribution_registers_a_kind_by_the_entry_point_group(tmp_path: Path) -> None:
    information = tmp_path / "colour-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: colour\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[trimtab.kinds]\ncolour = colour_kind:KIND\n")
    (tmp_path / "colour_kind.py").write_text(THIRD_PARTY_KIND)
    code = "from trimtab import kinds; print(kinds.by_name('colour').summary)"
    assert run(code, PYTHONPATH=str(tmp_path)) == "The colour of a project\n"


def test_no_module_of_the_library_has_the_name_of_a_public_name() -> None:
    """Importing such a module would replace the public name in the package."""
    modules = {path.stem for path in LIBRARY.iterdir() if path.name != "__init__.py"}
    assert modules & set(trimtab.__all__) == set()


def test_importing_the_library_loads_neither_loaders_nor_nats_nor_sql_nor_http() -> None:
    heavy = (
        "trimtab.workflows.code",
        "nats",
        "faststream",
        "sqlalchemy",
        "httpx",
        "redis",
        "opentelemetry",
    )
    code = f"import sys, trimtab; print([name for name in {heavy} if name in sys.modules])"
    assert run(code) == "[]\n"
