"""The port between propeller and whatever runs attempts: `Executor`, its values and errors. Pure.

A new implementation has to pass ``tests/integration/propeller/executor_contract.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType, Protocol

from pydantic import JsonValue

from trimtab.errors import Invalid, Rejected, Retryable, TrimtabError
from trimtab.messages.resolutions import ResolvedValue
from trimtab_propeller.executors.attempt import Attempt, Program, ProgramKind

_SHOWN_CHARACTERS = 40
"""The characters of a variable's value that an error repeats."""


class ExecutorError(TrimtabError):
    """Base of the errors that executors raise."""


class ExecutorUnavailable(ExecutorError, Retryable):
    """The executor cannot do what was requested now; the same call may succeed later."""


class HostUnavailable(ExecutorUnavailable):
    """The executor lacks what every attempt needs, such as processes or room on its disk."""


class AttemptRejected(ExecutorError, Rejected):
    """The executor can never run the attempt as it stands."""


@dataclass(frozen=True)
class EnvironmentLimits:
    """How large the environment of a task may be, in bytes of UTF-8."""

    variable_bytes: int
    """For each variable: its name, its value and the ``=`` between them."""
    total_bytes: int
    """For all variables, with one more byte for each."""


@dataclass(frozen=True)
class Isolation:
    """The restriction of tasks: what an executor enforces here, and what it cannot enforce."""

    mechanism: str = ""
    """The mechanism that enforces it, with its version: ``Landlock ABI 7``. Empty where an executor
    declares nothing."""
    enforced: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """The rest, which it cannot enforce here. Then only admins of the platform may execute."""
    needed: str = ""
    """The mechanism that would enforce the rest: ``Landlock ABI 6``."""

    def __str__(self) -> str:
        enforced = f"{self.mechanism}: {', '.join(self.enforced) or 'nothing'}"
        return f"{enforced}; only admins execute" if self.missing else enforced


@dataclass(frozen=True)
class Capabilities:
    """The name of an executor, the values that it does not apply, its limits and isolation."""

    name: str
    ignores: tuple[str, ...] = ()
    """Paths of resolved values. A path includes everything below it."""
    environment_limits: EnvironmentLimits | None = None
    """``None`` where the executor has none."""
    isolation: Isolation = Isolation()
    makes_pods: bool = False
    """Whether attempts are pods. Then an execution of which one could not be built is refused."""
    runs: frozenset[ProgramKind] = frozenset({"text", "bundle", "image", "container", "pod"})
    plugins: tuple[str, ...] = ()
    """The plugins that ``plugin_override`` may name; each of them runs every type of task. The
    first one is the default."""

    @property
    def default_plugin(self) -> str:
        return self.plugins[0] if self.plugins else self.name

    def why_not(self, program: "Program", task: str, image: str) -> str:
        """Return why no attempt of a task can run, and the remedy; empty where one can.

        ``image`` is empty where the task has none.
        """
        if program.kind in self.runs:
            is_named = program.kind != "bundle" or program.module_name
            return "" if is_named else f'task "{task}" names no module of its bundle'
        where, remedy = _PROGRAMS[program.kind]
        runs = " ".join(filter(None, (where, image if program.kind != "pod" else "")))
        return f'task "{task}" {runs}, which the {self.name} executor cannot run; {remedy}'

    def why_admins_only(self) -> str:
        """Return why only admins of the platform may execute; empty where others may too."""
        if not self.isolation.missing:
            return ""
        return (
            "only an admin of the platform may execute here, because the "
            f"{self.name} executor cannot isolate tasks: {self.isolation.mechanism} does not "
            f"restrict {', '.join(self.isolation.missing)}; {self.isolation.needed} is needed"
        )

    def check_environment(self, environment: Mapping[str, str]) -> None:
        """Raise `Invalid` where the executor could not start a task with these variables."""
        total = 0
        for name, value in environment.items():
            path, text = f"environment.{name}", f"{name}={value}"
            if not name or "=" in name or "\0" in text or not _is_utf8(text):
                raise Invalid(path, _shortened(value), "a name without = and text without NUL")
            size = len(text.encode())
            total += size + 1
            limits = self.environment_limits
            if limits is not None and size > limits.variable_bytes:
                allowed = f"at most {limits.variable_bytes} bytes, the name included, not {size}"
                raise Invalid(path, _shortened(value), allowed)
        if self.environment_limits is not None and total > self.environment_limits.total_bytes:
            allowed = f"at most {self.environment_limits.total_bytes} bytes in all variables"
            raise Invalid("environment", f"{total} bytes", allowed)

    def annotate(self, value: ResolvedValue) -> ResolvedValue:
        """Return the value, with a note where the executor does not apply it."""
        if not _includes(self.ignores, value.path):
            return value
        ignored = f"ignored by the {self.name} executor"
        return value.model_copy(update={"note": "; ".join(filter(None, [value.note, ignored]))})


@lru_cache(maxsize=4096)
def _includes(paths: tuple[str, ...], path: str) -> bool:
    return any(path == each or path.startswith(each + ".") for each in paths)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shortened(value: str) -> str:
    return value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"


_REMEDY = "a Python function, which @task without container and pod defines, can run here"
_PROGRAMS: Mapping[ProgramKind, tuple[str, str]] = {
    "container": ("runs container image", _REMEDY),
    "pod": ("runs a pod", _REMEDY),
    "image": ("has its code in a container image", "register its files, without --image"),
    "text": ("runs the text of a module", "register its directory"),
    "bundle": ("runs a bundle of modules", "register a single file"),
}
"""The words of an error for each kind of program, and the remedy."""


Location = NewType("Location", str)
"""Where an attempt runs, for people: a directory of a host. The execution log records it."""


@dataclass(frozen=True)
class Absent:
    """The attempt was never started."""


@dataclass(frozen=True)
class Running:
    """The attempt was started and has not ended."""

    location: Location


@dataclass(frozen=True)
class Returned:
    """The task's function returned."""

    output: JsonValue


@dataclass(frozen=True)
class Failed:
    """The task failed. Another attempt counts as a retry."""

    error: str


@dataclass(frozen=True)
class Interrupted:
    """The attempt ended without its task's doing. Another attempt does not count as a retry."""

    error: str


@dataclass(frozen=True)
class Stopped:
    """Propeller ended the attempt, by `Executor.stop` or `Executor.request_stop_of_all`, or could
    start none at that time.

    Another attempt counts neither as a retry nor as an interruption.
    """

    error: str


Outcome = Returned | Failed | Interrupted | Stopped
"""How an attempt ended. It never changes."""
AttemptState = Absent | Running | Outcome


class Executor(Protocol):
    """Runs attempts and keeps their outcomes.

    Attempts outlive the process that started them: any instance over the same data, or the same
    cluster, finds, waits for and stops what another one started. Every method raises
    `ExecutorUnavailable` where the executor itself does not work.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def location(self) -> str:
        """The identity of where its attempts run.

        It is equal for instances that find, and can stop, the same attempts, and only for them.
        """

    async def check(self) -> None:
        """Check that attempts can be started, without any.

        Raises `ExecutorUnavailable` where none can, whatever it is.
        """

    async def find(self, attempt: Attempt) -> AttemptState:
        """Return the current state of an attempt, whichever instance started it."""

    async def fetch(self, attempt: Attempt) -> None:
        """Fetch the code that an attempt needs, so that its start does not have to wait for it.

        It may be deleted again before the start. Raises `AttemptRejected` where it never can be
        fetched.
        """

    async def start(self, attempt: Attempt) -> Location:
        """Start an attempt unless it was started before, even if it has ended since.

        Raises `AttemptRejected` where the attempt can never be started.
        """

    async def wait(self, attempt: Attempt) -> Outcome:
        """Wait for the end of an attempt that was started."""

    async def stop(self, attempt: Attempt) -> Outcome:
        """End an attempt that was started: on request, and by force after a grace.

        Return the outcome that an attempt had before, if it has ended.
        """

    def close(self) -> None:
        """End what this instance has started for itself. The attempts go on."""

    async def request_stop_of_all(self) -> None:
        """Request the end of every running attempt that this instance started or adopted.

        Return when they have ended, or their grace is over.
        """
