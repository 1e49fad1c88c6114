"""Runs a command on a cluster: the control plane of the tests, or that of TRIMTAB_TEST_KUBECONFIG.

``python -m tests.kubernetes.run COMMAND…`` sets ``KUBECONFIG`` for the command.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.kubernetes.control_plane import ControlPlane


def main(command: Sequence[str]) -> int:
    with _kubeconfig() as path:
        return subprocess.run(
            command, env=os.environ | {"KUBECONFIG": path}, check=False
        ).returncode


@contextmanager
def _kubeconfig() -> Iterator[str]:
    if given := os.environ.get("TRIMTAB_TEST_KUBECONFIG"):
        yield given
        return
    with (
        tempfile.TemporaryDirectory(prefix="trimtab-kubernetes-") as directory,
        ControlPlane(Path(directory)) as control_plane,
    ):
        yield str(control_plane.kubeconfig)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
