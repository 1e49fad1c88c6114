"""Times as a person types them: ``90d`` is counted from now, all else is a date or time. Pure."""

import re
from datetime import datetime, timedelta

from trimtab.errors import Invalid

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# No more digits, because weeks of them are no time that a computer knows.
_DURATION = re.compile(r"(\d{1,5})([smhdw])")
_SHAPE = "a number and s, m, h, d or w, such as 90d"


def duration(option: str, text: str) -> timedelta:
    """Raises `Invalid`."""
    found = _duration(text)
    if found is None:
        raise Invalid(option, text, _SHAPE)
    return found


def after(option: str, text: str, now: datetime) -> datetime:
    """A time, or so long after now. Raises `Invalid`."""
    found = _duration(text)
    return _moment(option, text) if found is None else now + found


def before(option: str, text: str, now: datetime) -> datetime:
    """A time, or so long before now. Raises `Invalid`."""
    found = _duration(text)
    return _moment(option, text) if found is None else now - found


def shown(at: datetime | None) -> str | None:
    """As tables have it."""
    return None if at is None else f"{at:%Y-%m-%d %H:%M:%S%z}"


def _duration(text: str) -> timedelta | None:
    found = _DURATION.fullmatch(text)
    return found and timedelta(**{_UNITS[found[2]]: int(found[1])})


def _moment(option: str, text: str) -> datetime:
    """Without a zone it is of this machine's."""
    try:
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.astimezone()
    except (ValueError, OverflowError) as error:
        raise Invalid(option, text, f"{_SHAPE}; or a time, such as 2027-06-30T12:00Z") from error
