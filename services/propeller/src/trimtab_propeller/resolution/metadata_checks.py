"""Check the labels and annotations of each part of an execution. Pure."""

from collections.abc import Mapping

from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution import metadata
from trimtab_propeller.pods.metadata import KUEUE_LABEL
from trimtab_propeller.resolution.parts import Part


def checked(
    part: Part, values: Mapping[str, ResolvedValue], of_execution: Mapping[str, ResolvedValue]
) -> Mapping[str, ResolvedValue]:
    """Return the values of a part by path, with a note where the queue replaces a label.

    ``of_execution`` are the values of the execution itself, whose queue every part has. Raises
    `Refusal`.
    """
    metadata.check(values, str(part.target) if part.parent is not None else "")
    path = f"labels.{KUEUE_LABEL}"
    label, queue = values.get(path), of_execution.get("queue")
    system = of_execution.get("queue_system")
    if label is None or queue is None or system is None or system.value != "kueue":
        return values
    replaced = f"replaced by queue {queue.value}, which {queue.source} selects"
    note = "; ".join(filter(None, [label.note, replaced]))
    return {**values, path: label.model_copy(update={"note": note})}
