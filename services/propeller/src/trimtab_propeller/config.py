"""The configuration of propeller."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, DirectoryPath, Field, ValidationInfo, field_validator

from trimtab.blobs.locations import NATS, Location, directory_of
from trimtab.kinds.quality_of_service import Duration, Tier, seconds
from trimtab.runtime.config import FILE_VARIABLE, SECRETS_VARIABLE, ServiceConfig
from trimtab.settings import namespaces
from trimtab_propeller import ports
from trimtab_propeller.pods.defaults import PodConfig

_NATS_PORT = 4222


def _check_ports(text: str) -> str:
    ports.parse(text)
    return text


Ports = Annotated[str, AfterValidator(_check_ports)]
"""TCP ports: ``1-9999,27017``."""


class PropellerConfig(ServiceConfig):
    """The configuration of propeller, in addition to that of every service."""

    executor: Literal["process"] = "process"
    """The executor that runs attempts: ``process`` runs each one as a process of this host."""
    data_dir: Path = Path(".trimtab")
    """Attempts are stored below ``executions`` in it. Propellers that share it take over each
    other's executions at any time, others only those without a running attempt."""
    blobs: Location = NATS
    """Where bundles of code are read from and large resolutions are stored, the same as that of
    admin: ``nats``, or a directory that propeller can write, as a path that begins with ``/`` or
    ``./`` or as a ``file:`` URL."""
    bundles_bytes: int = Field(default=1024 * 1024 * 1024, ge=0)
    """How many bytes of bundles of code are kept below ``bundles`` in ``data_dir``. Those that were
    not used for longest are deleted, and fetched again where they are needed."""
    max_executions: int = Field(default=50, ge=1, le=10_000)
    """How many executions propeller owns at once, with those that it has taken over. The others
    wait in the stream ``EXECUTIONS``, and are claimed from one project and domain after the
    other."""
    heartbeat_seconds: float = Field(default=1.0, gt=0)
    """How often propeller publishes a heartbeat. After three missed ones, another propeller takes
    its executions over; all propellers should have the same."""
    lease_seconds: float = Field(default=60.0, gt=0)
    """The lease of a pool's token, which is renewed at a third of it."""
    namespace_cluster: str = ""
    """The cluster that executions run in. An execution is claimed once the namespace of its project
    and domain can be used there. ``*`` is every cluster that admin declares: an execution is then
    claimed once its namespace can be used on a cluster that may be selected for it. Where it is
    empty, or admin does not declare the cluster, executions wait for no namespace."""
    namespace_template: Annotated[str, AfterValidator(namespaces.check_template)] = (
        namespaces.DEFAULT
    )
    """The template of namespaces' names, the same as that of admin; empty is the default, as in
    Flyte."""
    pods: PodConfig = PodConfig()
    """The configuration of pods: what they get in addition to the values of their execution. It is
    stored with each execution, whose later attempts use it even after a start with another one."""
    quality_tiers: dict[Tier, Duration] = {}
    """How long executions of each tier of ``quality_of_service`` may wait before their first task
    starts: ``{"HIGH": "60s", "LOW": "3600s"}``. Other tiers, and ``0s``, are no limit."""
    quality_default_tier: Tier | None = None
    """The tier of executions whose settings have no ``quality_of_service``. It has to be one of
    ``TRIMTAB_QUALITY_TIERS``."""
    task_secrets_dir: DirectoryPath | None = None
    """The directory of the secrets that ``security_context.secrets`` names, as files
    ``<project>/<domain>/<group>/<key>``, and ``_shared/<group>/<key>`` for all projects. A task has
    each as the variable ``_FSEC_<GROUP>_<KEY>``. Without a directory they are ignored, with a note
    in the resolution."""
    stop_tasks: bool = False
    """Whether SIGTERM ends running tasks too, which have two seconds to return, and are tried again
    otherwise. Without it, the next propeller adopts them."""
    task_readable: tuple[Path, ...] = ()
    """Directories and files that tasks may read and execute, in addition to the system's libraries
    and the interpreter of propeller: data, another interpreter, sources."""
    task_writable: tuple[Path, ...] = ()
    """Directories and files that tasks may also write, in addition to their own: data, devices such
    as ``/dev/nvidia0``. Tasks of all projects share them."""
    task_ports: Ports = ports.DEFAULT
    """The TCP ports that tasks may connect to, on all hosts, and listen on. Each start of a task
    takes 0.2 ms more for each 1,000 ports, and 20 ms for all, ``1-65535``."""
    task_closed_ports: Ports = "4222,5432,6222,6379,8222"
    """Ports of these that tasks may not use: those of NATS, PostgreSQL and Redis. The port of
    ``TRIMTAB_NATS_URL`` is always one of them."""

    @field_validator("task_readable", "task_writable")
    @classmethod
    def _check_paths(cls, paths: tuple[Path, ...], info: ValidationInfo) -> tuple[Path, ...]:
        data = info.data
        blobs = directory_of(data.get("blobs", NATS))
        hidden = _hidden(data.get("data_dir"), data.get("task_secrets_dir"), blobs)
        for path in paths:
            contained = [each for each in hidden if each.is_relative_to(path.resolve())]
            if contained:
                raise ValueError(f"{path} contains {contained[0]}, which no task may read")
        return paths

    @field_validator("quality_default_tier")
    @classmethod
    def _check_tier(cls, tier: Tier | None, info: ValidationInfo) -> Tier | None:
        tiers = info.data.get("quality_tiers", {})
        if tier is not None and tier not in tiers:
            raise ValueError(f"one of the quality_tiers, which are {', '.join(tiers) or 'none'}")
        return tier

    @property
    def queueing_budgets(self) -> Mapping[str, float]:
        """The seconds of each tier."""
        return {tier: seconds(duration) for tier, duration in self.quality_tiers.items()}

    @property
    def closed_ports(self) -> str:
        """The ports that tasks may not connect to."""
        nats_port = str(urlsplit(self.nats_url).port or _NATS_PORT)
        return ",".join(filter(None, (self.task_closed_ports, nats_port)))

    @property
    def hidden_paths(self) -> Sequence[Path]:
        """Paths that contain secrets of the system, which no task may read."""
        return _hidden(self.data_dir, self.task_secrets_dir, directory_of(self.blobs))


def _hidden(*directories: Path | None) -> list[Path]:
    """Return these directories and what the environment names, as far as they are configured."""
    named = (os.environ.get(name) for name in (SECRETS_VARIABLE, FILE_VARIABLE))
    return [Path(path).resolve() for path in (*directories, *named) if path]
