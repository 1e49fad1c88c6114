"""The main job, as the README's first command runs it."""

import subprocess
import sys

from tests.servers import PATIENCE_SECONDS
from tests.system import ROOT


def test_the_demo_runs_to_its_end() -> None:
    done = subprocess.run(
        [sys.executable, "examples/demo.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE_SECONDS,
    )
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAILED:")]
    assert done.returncode == 0, "\n".join((*failures, done.stdout, done.stderr))
    assert "limits.cpu: 1000" in done.stdout.replace("'", "")
    assert "project-domain flyteexamples/development" in done.stdout
