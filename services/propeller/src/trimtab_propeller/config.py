"""The configuration of propeller."""

from pathlib import Path
from typing import Literal

from pydantic import DirectoryPath, Field

from trimtab.runtime.config import ServiceConfig


class PropellerConfig(ServiceConfig):
    """The configuration of propeller, in addition to that of every service."""

    executor: Literal["process"] = "process"
    """The executor that runs attempts: ``process`` runs each one as a process of this host."""
    data_dir: Path = Path(".trimtab")
    """Attempts are stored below ``executions`` in it. Propellers that share it take over each
    other's executions at any time, others only those without a running attempt."""
    max_executions: int = Field(default=50, ge=1, le=10_000)
    """How many executions propeller owns at once, with those that it has taken over. The others
    wait in the stream ``EXECUTIONS``, and are claimed from one project and domain after the
    other."""
    heartbeat_seconds: float = Field(default=1.0, gt=0)
    """How often propeller publishes a heartbeat. After three missed ones, another propeller takes
    its executions over; all propellers should have the same."""
    lease_seconds: float = Field(default=60.0, gt=0)
    """The lease of a pool's token, which is renewed at a third of it."""
    task_secrets_dir: DirectoryPath | None = None
    """The directory of the secrets that ``security_context.secrets`` names, as files
    ``<project>/<domain>/<group>/<key>``, and ``_shared/<group>/<key>`` for all projects. A task has
    each as the variable ``_FSEC_<GROUP>_<KEY>``. Without a directory they are ignored, with a note
    in the resolution."""
    stop_tasks: bool = False
    """Whether SIGTERM ends running tasks too, which have two seconds to return, and are tried again
    otherwise. Without it, the next propeller adopts them."""
