"""Settings with changes on top that are not committed yet, and copies of settings. Pure.

The settings below stay as they are, so readers never see such changes, and a change that is not
committed after all leaves no trace.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import fields
from typing import Any, TypeVar

from trimtab.settings.state import Digest, Settings
from trimtab_admin import steps
from trimtab_admin.steps import Steps

K = TypeVar("K")
V = TypeVar("V")

_DELETED: Any = object()
_ABSENT: Any = object()


class Overlay(MutableMapping[K, V]):
    """A mapping that keeps its changes to itself; mappings within it are overlaid too."""

    def __init__(self, below: Mapping[K, V]) -> None:
        self._below = below
        self._own: dict[K, V] = {}
        self._inner: dict[K, Any] = {}
        """Overlays of the values below that are mappings, made when they are first read."""

    def __getitem__(self, key: K) -> V:
        value: V = self.get(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def get(self, key: K, default: Any = None) -> Any:
        value = self._own.get(key, _ABSENT)
        if value is _DELETED:
            return default
        if value is not _ABSENT:
            return value
        value = self._below.get(key, default)
        if not isinstance(value, dict) or value is default:
            return value
        if key not in self._inner:
            self._inner[key] = Overlay(value)
        return self._inner[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._own[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._own.pop(key, None)
        self._inner.pop(key, None)
        if key in self._below:
            self._own[key] = _DELETED

    def __contains__(self, key: object) -> bool:
        return self.get(key, _ABSENT) is not _ABSENT  # type: ignore[arg-type]  # any key is absent

    def __iter__(self) -> Iterator[K]:
        own = self._own
        yield from (key for key in self._below if key not in own)
        yield from [key for key, value in own.items() if value is not _DELETED]

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _OverlaidDigest(Digest):
    """Knows the revisions of a digest below it. Its sum is not that of the settings."""

    def __init__(self, below: Digest) -> None:
        super().__init__()
        self._revisions = Overlay(below._revisions)  # type: ignore[assignment]  # used as a dict


def on_top_of(settings: Settings) -> Settings:
    """Return settings that start equal and can be changed without changing those below.

    They are valid until those below change. Their digest serves only to look up revisions.
    """
    parts = {part.name: getattr(settings, part.name) for part in fields(Settings) if part.init}
    overlaid: dict[str, Any] = {
        name: Overlay(value) if isinstance(value, dict) else value for name, value in parts.items()
    }
    return Settings(**{**overlaid, "digest": _OverlaidDigest(settings.digest)})


def copy(settings: Settings) -> Steps[Settings]:
    """Return settings that change on their own, in slices; records and entities are shared.

    A change that is applied to the given settings during a pause may be in the copy or not: it has
    to be applied to the copy afterwards.
    """
    parts = {part.name: getattr(settings, part.name) for part in fields(Settings) if part.init}
    copied: dict[str, Any] = {**parts, "digest": settings.digest.copy()}
    yield
    for name, value in parts.items():
        if isinstance(value, dict):
            copied[name] = yield from _copy(value)
    return Settings(**copied)


def _copy(mapping: dict[Any, Any]) -> Steps[dict[Any, Any]]:
    """Return a copy of a dict and of the dicts in it, whose values are of one type."""
    copied = dict(mapping)
    if not _has_dicts(copied):
        return copied
    for number, (key, inner) in enumerate(copied.items(), 1):
        copied[key] = (yield from _copy(inner)) if _has_dicts(inner) else dict(inner)
        if number % steps.SIZE == 0 or len(inner) > steps.SIZE:
            yield
    return copied


def _has_dicts(mapping: dict[Any, Any]) -> bool:
    return isinstance(next(iter(mapping.values()), None), dict)
