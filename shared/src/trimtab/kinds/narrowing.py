"""Fields of a kind that a record below the platform can only narrow, and never widen. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import JsonValue

Narrow = Callable[[JsonValue, JsonValue], JsonValue]
"""Return of the first value what the second one allows, too; the first one where it allows all."""


@dataclass(frozen=True)
class Narrowing:
    """The rule of one field.

    The settings file and the platform set the value as usual. The value at a narrower scope is what
    the broader value and the record's own value both allow. `Kind.parse` refuses to unset the field
    there, and the fold ignores where a stored record does.
    """

    narrow: Narrow
    default: JsonValue = None
    """The value where neither the settings file nor the platform sets one; ``None`` allows all."""

    def value(self, broader: JsonValue, own: JsonValue) -> JsonValue:
        """Return the value at the scope of a record that sets its own value.

        ``None`` means that the record restricts nothing, so that the broader value stays.
        """
        base = self.default if broader is None else broader
        if base is None or base == own:
            return own
        narrowed = self.narrow(base, own)
        return None if narrowed == base else narrowed

    def widens(self, broader: JsonValue, own: JsonValue) -> bool:
        """Whether the record's own value allows something that the broader value does not."""
        base = self.default if broader is None else broader
        return base is not None and self.narrow(own, base) != own


ELSEWHERE = Narrowing(lambda broader, _own: broader)
"""Stands for the rule of a kind that is not installed, which only the server folds."""


def both(one: JsonValue, other: JsonValue) -> JsonValue:
    """Narrow a switch: false wins."""
    return one is True and other is True


def common(items: JsonValue, allowed: JsonValue) -> JsonValue:
    """Narrow a list of names: the names in both lists."""
    names = set(_texts(allowed))
    return [item for item in _texts(items) if item in names]


def common_paths(paths: JsonValue, allowed: JsonValue) -> JsonValue:
    """Narrow a list of prefixes of paths: the prefixes of every path that both lists allow."""
    others = _texts(allowed)
    narrowed: dict[str, None] = {}
    for path in _texts(paths):
        inside = [path] if is_covered(path, others) else [p for p in others if _covers(path, p)]
        narrowed |= dict.fromkeys(inside)
    return list(narrowed)


def is_covered(path: str, prefixes: Iterable[str]) -> bool:
    """Whether a normalised path is one of the prefixes, or inside one."""
    return any(_covers(prefix, path) for prefix in prefixes)


def _covers(prefix: str, path: str) -> bool:
    return path == prefix or path.startswith(prefix.rstrip("/") + "/")


def _texts(value: JsonValue) -> list[str]:
    # The model of the kind has validated the list, so it has no other items.
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
