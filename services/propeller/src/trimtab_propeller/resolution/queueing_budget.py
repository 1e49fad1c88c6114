"""The queueing budget of an execution, from ``quality_of_service``. Pure."""

from collections.abc import Iterator

from trimtab.kinds import quality_of_service
from trimtab.messages.resolutions import QUEUEING_BUDGET, ResolvedValue
from trimtab.settings.state import Settings
from trimtab_propeller.resolution import records
from trimtab_propeller.resolution.parts import Part
from trimtab_propeller.resolution.site import Site

_KIND = quality_of_service.KIND.name
_IN_PART = "not applied: the queueing budget is that of the whole execution"
_NO_BUDGET = "no limit"


def values(part: Part, settings: Settings, site: Site) -> Iterator[ResolvedValue]:
    """Yield the fields of the kind, and the budget of the execution itself, if it has one.

    Raises `Unreadable`.
    """
    found = list(records.values(settings.effective(_KIND, part.target)))
    for value in found:
        field = value.model_copy(update={"path": f"{_KIND}.{value.path}"})
        budget = _budget(value, site)
        if part.parent is not None:
            yield field.model_copy(update={"note": _IN_PART})
        elif isinstance(budget, str):
            yield field.model_copy(update={"note": budget})
        else:
            yield from (field, budget)
    if not found and part.parent is None and site.default_tier:
        yield ResolvedValue(
            path=QUEUEING_BUDGET,
            value=_number(site.queueing_budgets[site.default_tier]),
            source="propeller",
            note=f"default tier {site.default_tier}",
        )


def _budget(value: ResolvedValue, site: Site) -> ResolvedValue | str:
    """Return the budget that a field of the kind leads to, or why it leads to none."""
    text, note = str(value.value), ""
    if value.path == "tier":
        if text not in site.queueing_budgets:
            return f"{_NO_BUDGET}: the configuration of propeller has no length of tier {text}"
        seconds, note = site.queueing_budgets[text], f"tier {text}"
    else:
        seconds = quality_of_service.seconds(text)
    if not seconds:
        return _NO_BUDGET
    return value.model_copy(
        update={"path": QUEUEING_BUDGET, "value": _number(seconds), "note": note}
    )


def _number(seconds: float) -> int | float:
    return int(seconds) if seconds.is_integer() else seconds
