"""Values of a called launch plan that are at most those of the parts around it. Pure."""

from trimtab.messages.resolutions import ResolvedValue


def capped(
    own: ResolvedValue | None, around: ResolvedValue | None, *, absent: int | None
) -> ResolvedValue | None:
    """Return the lower one of a part's own value and that of the part around it.

    ``absent`` is the number that a missing value counts as; ``None`` is no limit. Where the value
    around is the lower one, it is the source, and the note has the own value.
    """
    if around is None and absent is not None and own is not None:
        around = ResolvedValue(path=own.path, value=absent, source="engine")
    bound = _number(around, absent)
    number = _number(own, absent)
    if around is None or bound is None or (number is not None and number <= bound):
        return own
    if own is None:
        note = "as around the called launch plan"
    else:
        note = f"lowered from {own.value} ({own.source}) to the value around the called launch plan"
    return around.model_copy(update={"note": note})


def _number(value: ResolvedValue | None, absent: int | None) -> int | None:
    return value.value if value is not None and isinstance(value.value, int) else absent
