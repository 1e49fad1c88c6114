"""The limits of the labels and annotations of an execution, of all its sources together. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from trimtab.labels import MAX_ANNOTATIONS, MAX_LABELS, RESERVED, is_reserved
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.workflows.graphs.launch_plans import ExecutionConfig

FIELDS = ("labels", "annotations")
_SHOWN_SOURCES = 4
"""How many sources a refusal lists, those with the largest shares."""


def of_config(source: str, config: ExecutionConfig) -> Iterator[ResolvedValue]:
    """Yield the labels and annotations that a launch plan or a request sets."""
    for field in FIELDS:
        for key, value in getattr(config, field).items():
            yield ResolvedValue(path=f"{field}.{key}", value=value, source=source)


def check(values: Mapping[str, ResolvedValue], called: str = "") -> None:
    """Check the labels and annotations among values by path.

    ``called`` is the target of the called launch plan that has them; empty for the execution.
    Raises `Refusal`.
    """
    labels, annotations = (
        [value for path, value in values.items() if path.startswith(f"{field}.")]
        for field in FIELDS
    )
    for value in (*labels, *annotations):
        _check_key(value)
    where = f" of the call of {called}" if called else ""
    shares = Counter(map(_origin, labels))
    if shares.total() > MAX_LABELS:
        bound = f"at most {MAX_LABELS} of all sources together"
        raise _over("labels", f"{shares.total()} labels{where}", bound, shares, labels)
    sizes: Counter[str] = Counter()
    for value in annotations:
        sizes[_origin(value)] += annotation_bytes(value)
    if sizes.total() > MAX_ANNOTATIONS:
        bound = f"at most {MAX_ANNOTATIONS} bytes of all sources together"
        found = f"{sizes.total()} bytes of annotations{where}"
        raise _over("annotations", found, bound, sizes, annotations)


def annotation_bytes(value: ResolvedValue) -> int:
    """Return the size of the key and the value."""
    return len(_key(value).encode()) + len(str(value.value).encode())


def _check_key(value: ResolvedValue) -> None:
    if is_reserved(value.path.partition(".")[0], _key(value)):
        bound = f"a key that is not below {RESERVED}/, which only Trimtab sets"
        origin = _origin(value)
        message = f"{value.path} is from {origin}; allowed: {bound}"
        bound = f"{bound}; this one is from {origin}"
        raise Refusal(value.path, value.value, message, scope=value.scope, bound=bound)


def _over(
    field: str, found: str, bound: str, shares: Counter[str], values: Iterable[ResolvedValue]
) -> Refusal:
    [(largest, _)] = shares.most_common(1)
    scope = next(value.scope for value in values if _origin(value) == largest)
    parts = [f"{share} of {origin}" for origin, share in shares.most_common(_SHOWN_SOURCES)]
    others = len(shares) - len(parts)
    listed = ", ".join(parts) + (f" and {others} more sources" if others > 0 else "")
    message = f"{field}: {found} ({listed}); allowed: {bound}"
    return Refusal(field, found, message, scope=scope, bound=f"{bound}; these are {listed}")


def _origin(value: ResolvedValue) -> str:
    """Return the source in words, the same one for all keys of a record."""
    if value.source == "project":
        return value.scope
    if value.scope:
        return f"{value.source.partition('.')[0]} of {value.scope}"
    return f"the {value.source}"


def _key(value: ResolvedValue) -> str:
    return value.path.partition(".")[2]
