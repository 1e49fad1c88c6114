"""The command line of Flyte 2 edits settings, unmodified and with an API token."""

import json
import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flyte.admins import TOKEN, Admin
from tests.flyte.environments import environment
from tests.flyte.tls import TlsProxy
from tests.servers import PATIENCE_SECONDS

Flyte = Callable[..., subprocess.CompletedProcess[str]]
SCOPES = ([], ["--domain", "production"], ["--domain", "production", "--project", "analytics"])


@pytest.fixture(scope="module")
def flyte(admin: Admin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flyte]:
    """Runs ``flyte`` with a token of ``trimtab token print``."""
    program, directory = environment("flyte") / "flyte", tmp_path_factory.mktemp("flyte")
    print_token = [os.fspath(Path(sysconfig.get_path("scripts")) / "trimtab"), "token", "print"]
    with admin.client() as client:
        assert client.post("/api/v2/projects", json={"name": "analytics"}).status_code == 201
    with TlsProxy(directory, admin.port) as proxy:
        config = directory / "config.yaml"
        # JSON is YAML.
        platform = {
            "endpoint": proxy.endpoint,
            "authType": "ExternalCommand",
            "command": print_token,
            "caCertFilePath": os.fspath(proxy.authority),
            "disableKeyring": True,
        }
        config.write_text(json.dumps({"admin": platform, "task": {"org": "acme"}}))

        def run(*arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
            own = {"TRIMTAB_TOKEN": token, "DO_NOT_TRACK": "1", "HOME": os.fspath(directory)}
            return subprocess.run(
                [program, "--config", config, *arguments],
                cwd=directory,
                env={"PATH": os.environ["PATH"], "NO_COLOR": "1", "COLUMNS": "500", **own},
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )

        yield run


def written(flyte: Flyte, path: Path, scope: list[str]) -> str:
    """Return the settings that the command line shows for a scope."""
    done = flyte("get", "settings", *scope, "-o", os.fspath(path))
    assert done.returncode == 0, done.stdout + done.stderr
    return path.read_text()


def edit(flyte: Flyte, path: Path, text: str, scope: list[str]) -> str:
    path.write_text(text)
    done = flyte("edit", "settings", *scope, "--from-file", os.fspath(path))
    return done.stdout + done.stderr


def test_settings_are_edited_at_each_scope(flyte: Flyte, admin: Admin, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    texts = (
        "task_resource.min.cpu: 500m\nenvironment_variables:\n  LOG: info\n  REGION: us\n",
        'task_resource.max.cpu: "2"\nlabels:\n  team: ml\n',
        'task_resource.min.cpu: "1"\nenvironment_variables:\n  LOG: debug\nlabels: ~unset\n',
    )
    for scope, text in zip(SCOPES, texts, strict=True):
        assert "updated successfully" in edit(flyte, path, text, scope)
    shown = written(flyte, path, SCOPES[2])
    for line in (
        "### Settings for scope: PROJECT(production/analytics)",
        'task_resource.min.cpu: "1"',
        '# overridden value: "500m"  ## defined at ORG',
        "  LOG: debug",
        "  # REGION: us  ## defined at ORG",
        '# task_resource.max.cpu: "2"  ## inherited from DOMAIN(production)',
    ):
        assert line in shown.splitlines()
    with admin.client() as client:
        here = {"domain": "production", "project": "analytics"}
        found = client.get("/api/v2/effective/task_resource", params=here).json()
    values = {leaf["path"]: leaf["value"] for leaf in found["leaves"]}
    assert values == {"minimum.cpu": "1", "limits.cpu": "2", "over_limit": "clamp"}


def test_an_edit_replaces_the_settings_of_its_scope_or_is_refused_whole(
    flyte: Flyte, admin: Admin, tmp_path: Path
) -> None:
    path, scope = tmp_path / "settings.yaml", ["--domain", "staging"]
    edit(flyte, path, "labels:\n  team: ml\n", scope)
    assert "updated successfully" in edit(flyte, path, "task_resource.min.memory: 1Gi\n", scope)
    refused = edit(flyte, path, "labels:\n  team: ml\nrun.default_queue: fast\n", scope)
    assert "run.default_queue: 'fast' is not valid" in refused
    with admin.client() as client:
        records = client.get("/api/v2/records", params={"domain": "staging"}).json()
    assert {record["kind"]: record["document"] for record in records} == {
        "task_resource": {"minimum": {"memory": "1Gi"}}
    }


def test_a_wrong_token_is_refused(flyte: Flyte) -> None:
    done = flyte("get", "settings", token="wrong")
    assert done.returncode
    assert "Authentication failed" in done.stdout + done.stderr
