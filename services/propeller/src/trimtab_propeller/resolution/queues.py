"""Select the queue of an execution by its tags, of ``execution_queue``. Pure.

Every part of an execution has the queue of the execution itself.
"""

from collections.abc import Iterator, Sequence

from trimtab import names
from trimtab.errors import Unreadable
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import QueueChanged
from trimtab.messages.resolutions import ResolvedValue
from trimtab.settings.fold import Leaf
from trimtab.settings.state import Settings
from trimtab_propeller.resolution import records

_SOURCE = "execution_queue.tags"
_QUEUES = "trimtab.queues."
_IN_PART = "not applied: the queue is that of the whole execution"


def select(settings: Settings, target: Scope) -> QueueChanged | None:
    """Return the first queue, in the order of names, whose attributes hold all tags of the target.

    ``None`` where the target has no tags, or where no queue has all of them. The execution has to
    run on one of `QueueChanged.clusters`; none there is every cluster.

    Raises `Unreadable` where a queue that only a later release knows may come first.
    """
    fitting = _fitting(settings, _tags(_leaf(settings, target)))
    return fitting[0] if fitting else None


def values(settings: Settings, target: Scope) -> Iterator[ResolvedValue]:
    """Yield the tags of the execution, and the queue that they select with its system.

    Raises `Unreadable`.
    """
    leaf = _leaf(settings, target)
    if leaf is None:
        return
    tags = records.value(_SOURCE, _SOURCE, leaf)
    fitting = _fitting(settings, _tags(leaf))
    if not fitting:
        yield tags.model_copy(update={"note": _why_none(settings, _tags(leaf))})
        return
    yield tags
    queue, note = fitting[0], _why_first(fitting, _tags(leaf))
    yield tags.model_copy(update={"path": "queue", "value": queue.name, "note": note})
    yield ResolvedValue(
        path="queue_system",
        value=queue.system,
        source="queue",
        scope=f"queue {queue.name}",
        revision=settings.digest.revision_of(subjects.queue(queue.name)),
    )


def values_of_call(settings: Settings, target: Scope) -> Iterator[ResolvedValue]:
    """Yield the tags of a called launch plan, which do not apply. Raises `Unreadable`."""
    leaf = _leaf(settings, target)
    if leaf is not None:
        yield records.value(_SOURCE, _SOURCE, leaf).model_copy(update={"note": _IN_PART})


def _leaf(settings: Settings, target: Scope) -> Leaf | None:
    return records.leaf(settings, "execution_queue", "tags", target)


def _tags(leaf: Leaf | None) -> Sequence[str]:
    value = None if leaf is None else leaf.value
    return [str(tag) for tag in value] if isinstance(value, list | tuple) else []


def _fitting(settings: Settings, tags: Sequence[str]) -> Sequence[QueueChanged]:
    """Raises `Unreadable` where the attributes of a queue before the first one are not known."""
    if not tags:
        return []
    fitting = settings.queues_with(tags)
    for subject in sorted(settings.later):
        name = subjects.name_of(subject)
        is_first = not fitting or name < fitting[0].name
        if subject.startswith(_QUEUES) and is_first:
            raise Unreadable(f"the queue {name!r} was declared by a later release")
    return fitting


def _why_first(fitting: Sequence[QueueChanged], tags: Sequence[str]) -> str:
    wanted = ", ".join(tags)
    if len(fitting) == 1:
        return f"the only queue whose attributes hold {wanted}"
    queues = names.listed([queue.name for queue in fitting])
    return f"first of {queues} whose attributes hold {wanted}"


def _why_none(settings: Settings, tags: Sequence[str]) -> str:
    queues = names.listed(sorted(settings.queues)) or "none"
    return f"no queue has all of the tags {', '.join(tags)}; queues: {queues}"
