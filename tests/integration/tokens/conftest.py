"""Fixtures: an installation for each module, and a pool for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.tokens.running import Installation
from trimtab.api.entities import PoolBody
from trimtab.tokens.pools import Pools, connected

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("tokens")) as installation:
        yield installation


@pytest.fixture
async def pools(installation: Installation) -> AsyncIterator[Pools]:
    async with connected(installation.nats.url) as opened:
        yield opened


@pytest.fixture
async def pool(installation: Installation) -> str:
    """A pool of two units that one test uses."""
    name = f"pool-{next(_NUMBERS)}"
    await installation.define_pool(PoolBody(name=name, quota=2))
    return name
