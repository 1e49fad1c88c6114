"""What an executor is given, and what becomes of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue

from trimtab.messages.executions import Request, Resolution


@dataclass(frozen=True)
class Job:
    """One attempt of one node, complete."""

    execution: str
    node: str
    attempt: int
    task: str
    inputs: Mapping[str, JsonValue]
    module: str
    """Python source that defines the task."""
    environment: Mapping[str, str]
    """What was resolved, and facts of the attempt as ``TRIMTAB_…``."""

    @property
    def name(self) -> str:
        """Unique in the installation; the id of its token too."""
        return f"{self.execution}/{self.node}/{self.attempt}"

    def fenced(self, fence: int | None) -> "Job":
        """The same, with the fence of its token for what it calls; none where there is none."""
        if fence is None:
            return self
        return replace(self, environment={**self.environment, "TRIMTAB_FENCE": str(fence)})


@dataclass(frozen=True)
class Returned:
    """The task's function returned."""

    output: JsonValue


@dataclass(frozen=True)
class Broke:
    """The task failed: another attempt is one of its retries."""

    error: str


@dataclass(frozen=True)
class Lost:
    """The attempt ended without the task's doing."""

    error: str


Outcome = Returned | Broke | Lost


def environment(
    request: Request, resolution: Resolution, node: str, attempt: int
) -> dict[str, str]:
    """Of an attempt: nothing of the service's own is in it."""
    facts = {
        "TRIMTAB_EXECUTION": request.execution,
        "TRIMTAB_PROJECT": request.project,
        "TRIMTAB_DOMAIN": request.domain,
        "TRIMTAB_WORKFLOW": request.workflow.name,
        "TRIMTAB_NODE": node,
        "TRIMTAB_ATTEMPT": str(attempt),
    }
    for value in resolution.nodes[node]:
        if value.path.startswith("resources."):
            # resources.requests.cpu → TRIMTAB_REQUESTS_CPU
            name = value.path.removeprefix("resources.").replace(".", "_").upper()
            facts[f"TRIMTAB_{name}"] = str(value.value)
    return {**resolution.environment(node), **facts}
