"""Settings of propeller."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from trimtab.runtime.config import ServiceConfig


class PropellerConfig(ServiceConfig):
    """Beside those of every service."""

    executor: Literal["process"] = "process"
    """What runs the attempts: ``process`` makes each one a process of this host."""
    data_dir: Path = Path(".trimtab")
    """Attempts live below ``executions`` in it. Propellers that share executions share it."""
    heartbeat_seconds: float = Field(default=1.0, gt=0)
    """How often a propeller says that it lives; silent for three of these, it is taken over."""
    lease_seconds: float = Field(default=60.0, gt=0)
    """How long a pool's token is held when its renewal, at a third of this, does not arrive."""
    stop_tasks: bool = False
    """Whether a stop in order ends running tasks too. Otherwise the next propeller adopts them."""
