"""Settings with changes on top that are not committed yet. Pure.

The settings below stay as they are, so readers never see such changes, and a change that is not
committed after all leaves no trace.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import fields
from typing import Any, TypeVar

from trimtab.settings.state import Digest, Settings

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


class _CopiedDigest(Digest):
    def __init__(self, original: Digest) -> None:
        super().__init__()
        self._sum, self._revisions = original._sum, dict(original._revisions)


def on_top_of(settings: Settings) -> Settings:
    """Return settings that start equal and can be changed without changing those below.

    They are valid until those below change. Their digest serves only to look up revisions.
    """
    parts = {part.name: getattr(settings, part.name) for part in fields(Settings) if part.init}
    overlaid: dict[str, Any] = {
        name: Overlay(value) if isinstance(value, dict) else value for name, value in parts.items()
    }
    return Settings(**{**overlaid, "digest": _OverlaidDigest(settings.digest)})


def copy_of(settings: Settings) -> Settings:
    """Return settings that do not change when the given ones do.

    Records and entities are shared, so copying a hundred thousand of them takes some milliseconds.
    """
    parts = {part.name: getattr(settings, part.name) for part in fields(Settings) if part.init}
    return Settings(**{name: _copied(value) for name, value in parts.items()})


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        copied = dict(value)
        for key, inner in copied.items():
            if not isinstance(inner, dict):
                break
            copied[key] = _copied(inner)
        return copied
    return _CopiedDigest(value) if isinstance(value, Digest) else value
