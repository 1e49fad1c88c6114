"""Clusters for the tests of this folder, and a proxy with faults in front of the one of the run.

A test that uses `cluster` runs on any cluster; one that uses `control_plane` or `new_control_plane`
can stop, pause and restart the servers, and runs only where they are ours.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
from nats.aio.client import Client

from tests.integration.clusterres.conftest import Statuses
from tests.kubernetes import faults
from tests.kubernetes.adapters import Adapters
from tests.kubernetes.clusters import EVERYTHING, Cluster
from tests.kubernetes.control_plane import ControlPlane
from trimtab.messages import subjects

GIVEN = os.environ.get("TRIMTAB_TEST_KUBECONFIG")
"""The configuration of another cluster, on which the same tests run."""
OF_OUR_SERVERS = {"control_plane", "new_control_plane"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what cannot run on the cluster of someone else."""
    if GIVEN is None:
        return
    stopping = [item for item in items if OF_OUR_SERVERS & {*getattr(item, "fixturenames", ())}]
    config.hook.pytest_deselected(items=stopping)
    items[:] = [item for item in items if item not in stopping]


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
) -> Iterator[Callable[..., ControlPlane]]:
    """Starts another cluster, which takes about three seconds and 400 MB; ended with the test.

    With ``own_etcd`` it shares none, so that a test can empty it.
    """
    with ExitStack() as running:

        def start(*, own_etcd: bool = False) -> ControlPlane:
            directory = tmp_path_factory.mktemp("control-plane")
            etcd = None if own_etcd else control_plane.etcd
            return running.enter_context(ControlPlane(directory, etcd))

        yield start


@pytest.fixture(scope="session")
def kubeconfig(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The configuration of a client that may do everything; its only context has a token."""
    if GIVEN is None:
        yield request.getfixturevalue("control_plane").kubeconfig
        return
    path, name = tmp_path_factory.mktemp("cluster") / "kubeconfig", f"t{uuid4().hex[:8]}-admin"
    with closing(Cluster(Path(GIVEN))) as given:
        given.user(name, EVERYTHING, path)
    yield path
    with closing(Cluster(Path(GIVEN))) as given:
        given.delete_namespaces(name)


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[Cluster]:
    """The cluster of the run."""
    with closing(Cluster(kubeconfig)) as cluster:
        yield cluster


@pytest.fixture
def prefix(cluster: Cluster) -> Iterator[str]:
    """The beginning of the names of all namespaces of this test, such as ``t0a1b2c3d-``."""
    prefix = f"t{uuid4().hex[:8]}-"
    yield prefix
    cluster.delete_namespaces(prefix)


@pytest.fixture
async def fault_proxy(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[faults.FaultProxy]:
    """A proxy in front of the cluster, without any rule yet."""
    async with faults.serving(kubeconfig, tmp_path / "faults") as proxy:
        yield proxy


@pytest.fixture
async def adapters(kubeconfig: Path) -> AsyncIterator[Adapters]:
    """Opens clusters of clusterres, which are closed after the test."""
    adapters = Adapters(kubeconfig)
    yield adapters
    await adapters.close()


@pytest.fixture
async def statuses(client: Client) -> Statuses:
    """The statuses of namespaces that a service publishes."""
    statuses = Statuses()
    await client.subscribe(subjects.ALL_NAMESPACES, cb=statuses.take)
    return statuses
