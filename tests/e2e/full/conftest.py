"""A stack of containers whose traces and metrics arrive in Jaeger and Prometheus."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with Stack(observed=True) as stack:
        yield stack
