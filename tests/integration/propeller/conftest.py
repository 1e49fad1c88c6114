"""Propellers on a NATS server of their own, executions for them, and modules of tasks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from nats.aio.client import Client

from tests.integration.propeller.harness import Executions, Propeller
from tests.servers import NatsServer

Start = Callable[..., Propeller]


@pytest.fixture
def start(nats_server: NatsServer, client: Client, tmp_path: Path) -> Iterator[Start]:
    """Start propellers that share one data directory. ``client`` has declared the streams."""
    with ExitStack() as stack:

        def start_propeller(**environment: str) -> Propeller:
            return stack.enter_context(Propeller(nats_server.url, tmp_path, **environment))

        yield start_propeller


@pytest.fixture
def executions(client: Client) -> Executions:
    return Executions(client)


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], Path]:
    """Write a module that has the SDK imported."""

    def write(source: str) -> Path:
        path = tmp_path / "module.py"
        path.write_text(
            "import os, time\nfrom pathlib import Path\nfrom trimtab import *\n" + source
        )
        return path

    return write
