"""The paths of an attempt's data, below the prefix of outputs. Pure.

They are names only: no executor puts anything there yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from trimtab_propeller.executors.attempt import Attempt


@dataclass(frozen=True)
class Paths:
    """The files and directories of one attempt; none of them ends with a slash."""

    inputs: str
    """The directory of the node's inputs, the same for all of its attempts."""
    outputs: str
    raw_outputs: str
    """The directory of files that the outputs refer to."""
    checkpoint: str
    previous_checkpoint: str
    """The checkpoint of the attempt before; empty for the first one."""

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Return the paths below the attempt's own prefix, which is not empty."""
        node = f"{attempt.output_prefix.rstrip('/')}/{attempt.execution}/{attempt.node}"
        own, before = f"{node}/{attempt.number}", f"{node}/{attempt.number - 1}"
        return cls(
            inputs=f"{node}/inputs",
            outputs=f"{own}/outputs",
            raw_outputs=f"{own}/raw",
            checkpoint=f"{own}/checkpoint",
            previous_checkpoint=f"{before}/checkpoint" if attempt.number else "",
        )

    def variables(self) -> Mapping[str, str]:
        """Return the paths by the names that they have in templates."""
        return {
            "input": f"{self.inputs}/inputs.json",
            "inputPrefix": self.inputs,
            "outputPrefix": self.outputs,
            "rawOutputDataPrefix": self.raw_outputs,
            "checkpointOutputPrefix": self.checkpoint,
            "prevCheckpointPrefix": self.previous_checkpoint,
        }
