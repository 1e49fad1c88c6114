"""Clusters for the tests of this folder.

A test that uses `cluster` runs on any cluster; one that uses `control_plane` or `new_control_plane`
can stop, pause and restart the servers, and runs only where they are ours.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.kubernetes.clusters import Cluster
from tests.kubernetes.control_plane import ControlPlane

GIVEN = os.environ.get("TRIMTAB_TEST_KUBECONFIG")
"""The configuration of another cluster, on which the same tests run."""
OF_OUR_SERVERS = {"control_plane", "new_control_plane"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what cannot run on the cluster of someone else."""
    if GIVEN is None:
        return
    faults = [item for item in items if OF_OUR_SERVERS & {*getattr(item, "fixturenames", ())}]
    config.hook.pytest_deselected(items=faults)
    items[:] = [item for item in items if item not in faults]


def pytest_report_header() -> str:
    if GIVEN is None:
        return "cluster: the control plane of tests/kubernetes/controlplane"
    return f"cluster: {GIVEN}; tests that stop its servers are deselected"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The servers of `cluster`. A test that stops or pauses one starts or resumes it again."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as control_plane:
        yield control_plane


@pytest.fixture
def new_control_plane(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], ControlPlane]]:
    """Starts another cluster, which takes about three seconds and 400 MB; ended with the test."""
    with ExitStack() as running:

        def start() -> ControlPlane:
            directory = tmp_path_factory.mktemp("control-plane")
            return running.enter_context(ControlPlane(directory, control_plane.etcd))

        yield start


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster of the run."""
    kubeconfig = GIVEN or request.getfixturevalue("control_plane").kubeconfig
    cluster = Cluster(Path(kubeconfig))
    yield cluster
    cluster.close()


@pytest.fixture
def prefix(cluster: Cluster) -> Iterator[str]:
    """The beginning of the names of all namespaces of this test, such as ``t0a1b2c3d-``."""
    prefix = f"t{uuid4().hex[:8]}-"
    yield prefix
    cluster.delete_namespaces(prefix)
