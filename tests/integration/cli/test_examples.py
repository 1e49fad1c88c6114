"""The examples in the help and in docs/cli.md run against a real system."""

import itertools
import json
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

import pytest

from tests.fake_flyte import FakeFlyte, empty_flyte2, fake_flyte
from tests.integration.cli.conftest import Trimtab
from tests.servers import PATIENCE_SECONDS
from trimtab.cli import reference
from trimtab.cli.main import cli

TASK = "task-resource-attribute"
RECORD = "project: shop\ndomain: development\nlimits: {cpu: '1'}\n"
TEMPLATE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {{ namespace }}\n"
PRICING = """
from trimtab import task, workflow

@task(container_image="team/pricing:1")
def price(n: int) -> int:
    return 3 * n

@workflow
def pricing(n: int = 1):
    return price(n=n)
"""
EXAMPLES = [
    example
    for entry in reference.entries(cli)
    for example in entry.examples
    # The fixture `data` runs `trimtab up`.
    if example != "trimtab up"
]
NUMBERS = itertools.count(1)
# The documents of `diff` differ, and the token neither is held nor waits.
CODES = {"diff": 1, "update token": 3, "release token": 3}


@pytest.fixture
def directory(trimtab: Trimtab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create the project shop with settings, and a directory with the files of the examples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "limits.yaml").write_text(f"kind: {TASK}\n{RECORD}")
    (tmp_path / f"{TASK}.yaml").write_text(RECORD.replace("'1'", "'2'"))
    (tmp_path / "pricing.py").write_text(PRICING)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "namespace.yaml").write_text(TEMPLATE)
    (tmp_path / "config.yaml").write_text("contexts: {staging: {domain: staging}}\n")
    trimtab("register", "project", "shop")
    trimtab("unarchive", "project", "shop")
    for command in (
        ("update", TASK, "--attrFile", f"{TASK}.yaml", "--force"),
        ("update", "pool", "gpus", "--quota", "2"),
        ("update", "queue", "batch", "--attribute", "critical"),
        ("register", "pricing.py", "-p", "shop", "-d", "development"),
    ):
        done = trimtab(*command)
        assert done.exit_code == 0, done.output
    return tmp_path


@pytest.fixture
def flyte() -> Iterator[FakeFlyte]:
    with fake_flyte() as flyte:
        yield flyte


@pytest.fixture
def flyte2() -> Iterator[str]:
    with empty_flyte2() as address:
        yield address


@pytest.fixture
def values(trimtab: Trimtab, example: str, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Return the values of the variables in an example."""
    found = {"TOKEN": "unknown/n0/0"}
    if "$DEAD" in example:
        found["DEAD"] = str(request.getfixturevalue("letter"))
    if "$NAME" in example:
        found["NAME"] = f"ci-{next(NUMBERS)}"
        trimtab("token", "create", found["NAME"], "--grant", "viewer")
    if "$REVISION" in example:
        history = trimtab("history", TASK, "-p", "shop", "-d", "development", "-o", "json")
        found["REVISION"] = str(json.loads(history.stdout)[-1]["revision"])
    if "$FLYTE2" in example:
        found["FLYTE2"] = request.getfixturevalue("flyte2")
    elif "$FLYTE" in example:
        found["FLYTE"] = request.getfixturevalue("flyte").endpoint
    if "$EXECUTION" in example:
        pricing = ("execute", "pricing", "-p", "shop", "-d", "development")
        found["EXECUTION"] = trimtab(*pricing).stdout.strip()
    if "namespaces shop" in example or "diff shop" in example:
        _await_namespace(trimtab)
    return found


def _await_namespace(trimtab: Trimtab) -> None:
    """Wait until the namespace of the project is made, and made again after an archive."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = trimtab("get", "namespaces", "-p", "shop", "-d", "development", "-o", "json")
        if [each["state"] for each in json.loads(found.stdout)] == ["ready"]:
            return
        assert time.monotonic() < deadline, found.output
        time.sleep(0.1)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_works(
    trimtab: Trimtab, directory: Path, values: Mapping[str, str], example: str
) -> None:
    line = Template(example).substitute(values)
    environment = {"VISUAL": "true", "TRIMTAB_CONFIG": str(directory / "config.yaml")}
    done = trimtab(*shlex.split(line)[1:], env=environment)
    expected = next((code for words, code in CODES.items() if f"trimtab {words}" in line), 0)
    assert done.exit_code == expected, done.output
