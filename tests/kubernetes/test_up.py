"""`trimtab up` with the cluster of a user."""

import subprocess
import sys
from pathlib import Path

from tests.integration.embedded.running import TRIMTAB, left_over
from tests.kubernetes import kubeconfigs
from tests.kubernetes.clusters import Cluster
from tests.servers import PATIENCE_SECONDS, free_port

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def error_of_up(data: Path, *options: str) -> str:
    """Return the only line that a start prints, which fails before any program runs."""
    command = [TRIMTAB, "up", "--data", str(data), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert left_over(data) == []
    [error] = done.stderr.splitlines()
    return error


def test_the_demo_runs_on_the_cluster(kubeconfig: Path) -> None:
    command = [sys.executable, str(DEMO), "--kubeconfig", str(kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=5 * PATIENCE_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "limits.cpu: 0/1k, limits.memory: 0/5Ti" in done.stdout


def test_an_unknown_context_is_named_with_those_that_there_are(
    kubeconfig: Path, tmp_path: Path
) -> None:
    options = ["--kubeconfig", str(kubeconfig), "--context", "nowhere"]
    error = error_of_up(tmp_path / "data", *options)
    assert error == f"Error: context of {kubeconfig} 'nowhere' does not exist; there are: test"


def test_a_server_that_is_not_there_ends_the_start(kubeconfig: Path, tmp_path: Path) -> None:
    given, url = kubeconfigs.read(kubeconfig), f"https://127.0.0.1:{free_port()}"
    away = kubeconfigs.write(tmp_path / "away", url, given.authority, given.token)
    error = error_of_up(tmp_path / "data", "--kubeconfig", str(away))
    assert error.startswith(f"Error: cluster embedded: {url} cannot be reached: ")


def test_a_server_that_refuses_the_user_ends_the_start(kubeconfig: Path, tmp_path: Path) -> None:
    given = kubeconfigs.read(kubeconfig)
    wrong = kubeconfigs.write(tmp_path / "wrong", given.url, given.authority, "wrong")
    error = error_of_up(tmp_path / "data", "--kubeconfig", str(wrong))
    problem = f"{given.url} does not accept the credentials: Unauthorized"
    assert error == f"Error: cluster embedded: {problem}"


def test_a_user_who_may_not_manage_namespaces_ends_the_start(
    cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    rules = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]}]
    viewer = cluster.user(f"{prefix}viewer", rules, tmp_path / "viewer")
    error = error_of_up(tmp_path / "data", "--kubeconfig", str(viewer))
    missing = "no permission to watch, create, patch, delete namespaces"
    assert error == f"Error: cluster embedded: {missing}"


def test_a_file_that_is_no_kubeconfig_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("words")
    error = error_of_up(tmp_path / "data", "--kubeconfig", str(path))
    assert error == f"Error: {path} is not a kubeconfig: it has no contexts"
