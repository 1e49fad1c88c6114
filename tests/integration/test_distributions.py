"""Each distribution builds, contains all its files, and imports only what it declares.

The environment of development hides an import that no pyproject declares. Here the wheels are
unpacked, and only the declared distributions of site-packages can be imported.
"""

import json
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SITE = sysconfig.get_path("purelib")
OURS = {
    "trimtab": ROOT / "shared",
    "trimtab-admin": ROOT / "services/admin",
    "trimtab-clusterres": ROOT / "services/clusterres",
    "trimtab-propeller": ROOT / "services/propeller",
    "trimtab-resmgr": ROOT / "services/resmgr",
}
CACHES = {"__pycache__", ".mypy_cache", ".ruff_cache"}
SERVICES = [name for name in OURS if name != "trimtab"]

# Migrations run inside Alembic, which provides the modules that they import.
RUN_BY_ALEMBIC = re.compile(r"\.migrations\.(env|versions\.)")
CLIENT = ("trimtab.client", "trimtab.cli", "trimtab.templates", "trimtab.yaml_texts")
TOKENS = ("trimtab.flyte_resource_manager", "trimtab.tokens.pools", "trimtab.tokens.resmgr")
BLOBS = ("trimtab.blobs.directory", "trimtab.blobs.jetstream", "trimtab.blobs.locations")
SERVICE = ("trimtab.runtime", "trimtab.settings.view", *BLOBS)
FLYTE = (
    "trimtab.flyte",
    *(f"trimtab.cli.flyte_{name}" for name in ("exports", "imports", "mirroring")),
)
PARTS: dict[str, tuple[str, ...]] = {
    "client": CLIENT,
    "client,flyte": FLYTE,
    "leasing": TOKENS,
    "service": SERVICE,
    "embedded": ("trimtab.embedded",),
}
"""The modules of the library that need an extra; all others import without one."""
FLYTE_DOORS = ("trimtab_admin.flyte",)
"""The modules of admin that need its extra ``flyte``."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directory that each distribution's wheel was unpacked into."""
    unpacked = {}
    for name, source in OURS.items():
        directory = tmp_path_factory.mktemp(name)
        build = [
            sys.executable,
            "-m",
            "hatchling",
            "build",
            "--target",
            "wheel",
            "-d",
            str(directory),
        ]
        subprocess.run(build, cwd=source, check=True, capture_output=True)
        [wheel] = directory.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)
        wheel.unlink()
        unpacked[name] = directory
    return unpacked


def modules_of(directory: Path) -> list[str]:
    files = [file.relative_to(directory) for file in directory.rglob("*.py")]
    names = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    return sorted(name for name in names if not RUN_BY_ALEMBIC.search(name))


def belongs(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def requires(name: str, wheels: dict[str, Path]) -> list[str]:
    if name in OURS:
        [info] = wheels[name].glob("*.dist-info")
        return metadata.PathDistribution(info).requires or []
    return metadata.distribution(name).requires or []


def closure(requirement: str, wheels: dict[str, Path]) -> set[str]:
    """Return the names of all distributions that are installed with a requirement."""
    found: set[str] = set()
    waiting, seen = [Requirement(requirement)], set[tuple[str, frozenset[str]]]()
    while waiting:
        wanted = waiting.pop()
        key = (wanted.name, frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        found.add(wanted.name)
        for line in requires(wanted.name, wheels):
            below = Requirement(line)
            extras = ["", *wanted.extras]
            if below.marker is None or any(below.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(below)
    return found


def files_of(name: str) -> Iterator[str]:
    for file in metadata.files(name) or ():
        yield str(file.locate())


def import_alone(requirement: str, modules: list[str], wheels: dict[str, Path]) -> str:
    """Return the error of Python; empty where every module imports."""
    names = closure(requirement, wheels)
    given = {
        "wheels": [str(wheels[name]) for name in OURS if name in names],
        "site": SITE,
        "files": [file for name in names if name not in OURS for file in files_of(name)],
        "modules": modules,
    }
    alone = [sys.executable, "-I", "-S", str(Path(__file__).with_name("alone.py"))]
    done = subprocess.run(alone, input=json.dumps(given), capture_output=True, text=True)
    return done.stderr


@pytest.mark.parametrize("name", OURS)
def test_a_wheel_contains_every_file_of_its_package(name: str, wheels: dict[str, Path]) -> None:
    source = OURS[name] / "src"
    files = {file.relative_to(source) for file in source.rglob("*") if file.is_file()}
    expected = {file for file in files if not CACHES.intersection(file.parts)}
    assert expected <= {file.relative_to(wheels[name]) for file in wheels[name].rglob("*")}
    assert Path(name.replace("-", "_"), "py.typed") in expected


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_imports_with_its_declared_dependencies_only(
    name: str, wheels: dict[str, Path]
) -> None:
    modules = [one for one in modules_of(wheels[name]) if not belongs(one, FLYTE_DOORS)]
    assert import_alone(name, modules, wheels) == ""


def test_the_doors_of_admin_import_with_their_extra(wheels: dict[str, Path]) -> None:
    modules = modules_of(wheels["trimtab-admin"])
    assert import_alone("trimtab-admin[flyte]", modules, wheels) == ""


def test_the_library_imports_without_extras(wheels: dict[str, Path]) -> None:
    in_extras = tuple(package for packages in PARTS.values() for package in packages)
    base = [name for name in modules_of(wheels["trimtab"]) if not belongs(name, in_extras)]
    assert import_alone("trimtab", base, wheels) == ""


@pytest.mark.parametrize("extras", PARTS)
def test_modules_that_need_an_extra_import_with_it(extras: str, wheels: dict[str, Path]) -> None:
    others = FLYTE if extras == "client" else ()
    modules = [
        name
        for name in modules_of(wheels["trimtab"])
        if belongs(name, PARTS[extras]) and not belongs(name, others)
    ]
    assert modules
    assert import_alone(f"trimtab[{extras}]", modules, wheels) == ""


def test_an_import_that_is_not_declared_is_found(wheels: dict[str, Path]) -> None:
    error = import_alone("trimtab", ["trimtab.runtime.bus"], wheels)
    assert "ModuleNotFoundError: nats" in error
    assert "installed here, but not declared" in error
