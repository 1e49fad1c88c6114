"""The executor ``process``: attempts as local processes under a shim, on one host.

The state of an attempt is its directory, so any propeller with the same data directory can follow
an attempt to its end, whichever propeller started it.
"""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from trimtab.errors import Invalid, Unavailable
from trimtab.runtime.retrying import backoff_seconds
from trimtab_propeller.executors import identity, landlock, records, shim, task_secrets
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.blocking import executor_error, in_thread
from trimtab_propeller.executors.bundle_cache import BundleCache
from trimtab_propeller.executors.confinement import Confinement
from trimtab_propeller.executors.fork_client import (
    ForkServer,
    InDoubt,
    NotStarted,
    StartedShim,
    watch_end,
)
from trimtab_propeller.executors.port import (
    Absent,
    AttemptRejected,
    AttemptState,
    Capabilities,
    EnvironmentLimits,
    ExecutorError,
    ExecutorUnavailable,
    Failed,
    Interrupted,
    Isolation,
    Location,
    Outcome,
    Returned,
    Running,
)

CAPABILITIES = Capabilities(
    "process",
    runs=frozenset({"text", "bundle"}),
    plugins=("process",),
    ignores=(
        "accelerator",
        "annotations",
        "cache",
        "cache_serialize",
        "cache_version",
        "cluster",
        "cluster_assignment",
        "container_image",
        "containers",
        "execution_cluster_label",
        "execution_env_assignments",
        "execution_queue",
        "interruptible",
        "labels",
        "overwrite_cache",
        "pod_template",
        "queue",
        "queue_system",
        "raw_output_data_config",
        "resources.limits",
        "security_context.run_as",
        "security_context.secrets",
        "security_context.tokens",
        "shared_memory",
        "task_config",
        "task_config_type",
    ),
    # Linux: MAX_ARG_STRLEN for "NAME=value" and the byte that ends it. The sum leaves half of the
    # usual 2 MiB to the arguments of programs that a task starts.
    environment_limits=EnvironmentLimits(variable_bytes=128 * 1024 - 1, total_bytes=1024 * 1024),
)
BUNDLES = "bundles"
"""The directory of the cache of bundles, in the data directory."""
STOP_GRACE_SECONDS = 2.0
"""The default grace of resmgr is as long."""

_INHERITED = ("HOME", "LANG", "PATH")
"""The only variables of the service's own environment that a task sees."""
_AT_INTERPRETER_START = (
    "GLIBC_",
    "HOME",
    "LANG",
    "LC_",
    "LD_",
    "MALLOC_",
    "OPENSSL_",
    "PYDANTIC_",
    "PYTHON",
)
"""Beginnings of variables that act before a task does: when its interpreter, or a library that the
fork server has loaded, starts."""
_FORCE_SECONDS = 1.0
"""How long after its grace a stop is left to the shim."""
_FIRST_POLL_SECONDS = 0.02
_LONGEST_POLL_SECONDS = 0.2
_LONGEST_WATCHED_POLL_SECONDS = 5.0
_MAX_STARTING = 16
"""Each start takes a few file descriptors while it lasts."""
_MAX_HELD_BUNDLES = 4
"""How many bundles starts have in memory."""
_MAX_WATCHED = 256
"""How many attempts have a descriptor that ends with them; those of others are polled."""
_MAX_IN_DOUBT = 3
"""How often the start of an attempt is tried again that no process runs."""
log = logging.getLogger(__name__)


class ProcessExecutor:
    """Runs each attempt as a process of this host, in a directory of its own."""

    def __init__(
        self,
        data_dir: Path,
        stop_grace_seconds: float = STOP_GRACE_SECONDS,
        secrets_dir: Path | None = None,
        confinement: Confinement | None = None,
        fetch_bundle: Callable[[str], Awaitable[bytes]] | None = None,
        bundles_bytes: int = 2**30,
    ) -> None:
        """``stop_grace_seconds`` is how long a task may take to end after SIGTERM.

        ``fetch_bundle`` is `BlobStore.get`, and up to ``bundles_bytes`` of bundles are kept.
        Without ``secrets_dir``, tasks have no secrets. By default, they are confined as far as this
        kernel can do that.
        """
        confinement = (confinement or Confinement.of_this_kernel()).hiding(data_dir)
        if secrets_dir is not None:
            confinement = confinement.hiding(secrets_dir)
        capabilities = CAPABILITIES if secrets_dir is None else _with_secrets(CAPABILITIES)
        self.capabilities = replace(capabilities, isolation=_isolation(confinement))
        self._secrets_dir = secrets_dir and secrets_dir.resolve()
        self._stop_grace_seconds = stop_grace_seconds
        self.location = f"{CAPABILITIES.name}:{identity.read_or_create(data_dir.resolve())}"
        self._root = data_dir.resolve() / "executions"
        self._bundles = BundleCache(
            data_dir.resolve() / BUNDLES, fetch_bundle or _no_bundles, bundles_bytes
        )
        self._holding = asyncio.Semaphore(_MAX_HELD_BUNDLES)
        self._inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._fork_server = ForkServer(self._inherited, confinement)
        self._starting = asyncio.Semaphore(_MAX_STARTING)
        self._started: set[Path] = set()
        self._shims: dict[Path, StartedShim] = {}
        """The shims that this instance has started, also where a task has removed its files."""
        self._ends: dict[Path, asyncio.Event] = {}
        """The shims that run and that this instance has started. Each is set at its end."""

    def close(self) -> None:
        """End the fork server. The attempts go on."""
        self._fork_server.close()

    async def check(self) -> None:
        await in_thread(lambda: records.check_root(self._root))
        try:
            await self._fork_server.check()
        except (InDoubt, NotStarted) as error:
            raise ExecutorUnavailable(f"no process can be started: {error}") from error

    async def find(self, attempt: Attempt) -> AttemptState:
        return await self._state(self.directory(attempt))

    async def _state(self, directory: Path) -> AttemptState:
        """Return the state of an attempt. While its shim runs, none is over that its files lack."""
        state = await in_thread(lambda: records.read_state(directory))
        if isinstance(state, Running | Returned):
            return state
        found = self._shims.get(directory)
        is_running = directory in self._ends or (found is not None and found.is_running)
        return Running(Location(str(directory))) if is_running else state

    async def fetch(self, attempt: Attempt) -> None:
        self._check(attempt)
        if attempt.kind == "bundle":
            await self._bundles.ensure(attempt.bundle)

    async def start(self, attempt: Attempt) -> Location:
        directory = self.directory(attempt)
        self._check(attempt)
        self._started.add(directory)
        polls = in_doubt = 0
        while True:
            try:
                async with self._code(directory, attempt) as code, self._starting:
                    prepared = await in_thread(
                        lambda: records.prepare(
                            directory, attempt, code, lambda: self._call(directory, attempt)
                        )
                    )
                    if prepared is not None:
                        await self._run(directory, prepared)
                return Location(str(directory))
            except records.Contended:
                # Another process starts the attempt, or reads its state.
                polls += 1
                await _pause(polls)
            except InDoubt as error:
                in_doubt += 1
                if in_doubt > _MAX_IN_DOUBT:
                    raise ExecutorUnavailable("the fork server ends when it is called") from error

    @asynccontextmanager
    async def _code(self, directory: Path, attempt: Attempt) -> AsyncIterator[bytes]:
        """Hold the bundle of an attempt that is to be started; empty where it has none.

        Raises `ExecutorError`.
        """
        if attempt.kind != "bundle" or await in_thread(lambda: records.is_started(directory)):
            yield b""
            return
        async with self._holding:
            yield await self._bundles.get(attempt.bundle)

    async def _run(self, directory: Path, prepared: records.Prepared) -> None:
        """Start a prepared attempt. Raises `InDoubt` and `ExecutorError`."""
        try:
            started = await self._fork_server.start_shim(prepared)
        except NotStarted as error:
            raise executor_error(error.number, str(error)) from error
        finally:
            prepared.close()
        self._shims[directory] = started
        if len(self._ends) < _MAX_WATCHED:
            self._ends[directory] = asyncio.Event()
            watch_end(started.report, lambda: self._on_ended(directory))
        else:
            os.close(started.report)

    def _on_ended(self, directory: Path) -> None:
        # From now on the state is polled: the guard may take longer than the shim.
        self._ends.pop(directory).set()

    async def wait(self, attempt: Attempt) -> Outcome:
        return await self._wait(self.directory(attempt))

    async def _wait(self, directory: Path) -> Outcome:
        polls = 0
        while True:
            state = await self._state(directory)
            if isinstance(state, Absent):
                state = self._outcome_of_absent(directory)
            if not isinstance(state, Running):
                self._started.discard(directory)
                self._shims.pop(directory, None)
                return state
            polls += 1
            await _pause(polls, self._ends.get(directory))

    async def stop(self, attempt: Attempt) -> Outcome:
        directory = self.directory(attempt)
        await in_thread(lambda: records.request_stop(directory))
        self._signal(directory, signal.SIGTERM)
        try:
            async with asyncio.timeout(self._stop_grace_seconds + _FORCE_SECONDS):
                return await self._wait(directory)
        except TimeoutError:
            await in_thread(lambda: records.force_stop(directory))
            self._signal(directory, signal.SIGKILL)
        return await self._wait(directory)

    def _signal(self, directory: Path, number: signal.Signals) -> None:
        """Signal the shim of an attempt, whose task may have removed what a request needs."""
        if (found := self._shims.get(directory)) is not None:
            found.send(number)

    async def request_stop_of_all(self) -> None:
        def stop_all(directories: list[Path]) -> None:
            for directory in directories:
                try:
                    records.request_stop(directory)
                except OSError as error:
                    fields = {"directory": str(directory), "error": str(error)}
                    log.warning("attempt.stop_failed", extra=fields)

        directories = list(self._started)
        await in_thread(lambda: stop_all(directories))
        for directory in directories:
            self._signal(directory, signal.SIGTERM)
        # The system may end all processes of the service after this one.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stop_grace_seconds + _FORCE_SECONDS):
                for directory in directories:
                    with suppress(ExecutorError):
                        await self._wait(directory)

    def _outcome_of_absent(self, directory: Path) -> Outcome:
        if directory in self._started:
            return Failed("the attempt's directory was removed")
        return Interrupted("the attempt was not started")

    def directory(self, attempt: Attempt) -> Path:
        return self._root / attempt.execution / attempt.node / str(attempt.number)

    def _check(self, attempt: Attempt) -> None:
        """Raise `AttemptRejected` where another propeller has admitted what cannot be started."""
        reason = self.capabilities.why_admins_only()
        if reason and not attempt.by_platform_admin:
            raise AttemptRejected(reason)
        if reason := self.capabilities.why_not(attempt, attempt.task, attempt.image or ""):
            raise AttemptRejected(reason)
        try:
            self.capabilities.check_environment(attempt.environment)
        except Invalid as error:
            raise AttemptRejected(str(error)) from error

    def _secrets(self, attempt: Attempt) -> dict[str, str]:
        """Raises `AttemptRejected`."""
        return (
            {} if self._secrets_dir is None else task_secrets.variables(self._secrets_dir, attempt)
        )

    def _call(self, directory: Path, attempt: Attempt) -> shim.Call:
        # Not below the data directory: the path of a socket may have 107 characters only.
        temporary = os.path.join(tempfile.gettempdir(), f"trimtab-{uuid4().hex[:16]}")
        return shim.Call(
            directory=str(directory),
            temporary=temporary,
            environment={
                **self._inherited,
                "TMPDIR": temporary,
                **attempt.environment,
                **self._secrets(attempt),
            },
            program=_program(directory, attempt.environment, self._inherited),
            stop_grace_seconds=self._stop_grace_seconds,
            timeout_seconds=attempt.timeout_seconds,
            has_bundle=attempt.kind == "bundle",
        )


async def _no_bundles(_digest: str) -> bytes:
    raise Unavailable("there is no blob store")


def _with_secrets(capabilities: Capabilities) -> Capabilities:
    ignored = tuple(path for path in capabilities.ignores if path != "security_context.secrets")
    return replace(capabilities, ignores=ignored)


def _isolation(confinement: Confinement) -> Isolation:
    return Isolation(
        f"Landlock ABI {confinement.abi}" if confinement.abi else "a kernel without Landlock",
        confinement.enforced(),
        confinement.missing(),
        f"Landlock ABI {landlock.COMPLETE_ABI} on x86-64 or ARM64",
    )


def _program(
    directory: Path, environment: dict[str, str], inherited: dict[str, str]
) -> tuple[str, ...]:
    """Return the command of a task whose variables need an interpreter of its own."""
    if not any(
        name.startswith(_AT_INTERPRETER_START) and inherited.get(name) != value
        for name, value in environment.items()
    ):
        return ()
    work = str(directory / shim.WORK)
    return (sys.executable, "-P", "-m", "trimtab.workflows.entrypoint", work)


async def _pause(polls: int, ended: asyncio.Event | None = None) -> None:
    """Wait before the next poll, or until the event is set."""
    if ended is None:
        await asyncio.sleep(
            backoff_seconds(polls, first=_FIRST_POLL_SECONDS, longest=_LONGEST_POLL_SECONDS)
        )
        return
    try:
        async with asyncio.timeout(_LONGEST_WATCHED_POLL_SECONDS):
            await ended.wait()
    except TimeoutError:
        return
