"""Running admins. `make test-flyte` runs these tests, after it has installed Flyte's clients."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.flyte.admins import Admin


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """The admin of a module, at first without projects."""
    with Admin(tmp_path_factory.mktemp("admin")) as admin:
        yield admin


@pytest.fixture
def new_admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Admin]]:
    """Starts another admin, for a test that kills it or has a configuration of its own."""
    with ExitStack() as running:

        def start(**config: str) -> Admin:
            return running.enter_context(Admin(tmp_path_factory.mktemp("admin"), **config))

        yield start
