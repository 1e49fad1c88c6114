"""A start with a configuration that cannot work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TRIMTAB_DATA_DIR", "file/data", "propeller cannot write to"),
        ("TRIMTAB_EXECUTOR", "docker", "configuration executor: 'docker' is not valid"),
        ("TRIMTAB_HEARTBEAT_SECONDS", "0", "configuration heartbeat_seconds: '0' is not valid"),
    ],
)
def test_a_start_that_cannot_work_ends_with_one_message(
    tmp_path: Path, variable: str, value: str, message: str
) -> None:
    (tmp_path / "file").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "trimtab_propeller"],
        cwd=tmp_path,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 1
    assert (ended.stderr.startswith(message), ended.stderr.count("\n")) == (True, 1)
