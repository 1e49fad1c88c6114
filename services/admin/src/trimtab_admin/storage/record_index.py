"""The records in the order of their listing, so that a page is found without a look at the others.

The order is that of `Key`: by kind, then from broad to narrow, then by the text of the scope. Pure.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import NamedTuple

from trimtab.levels import Level, Scope

Key = tuple[str, int, str]
"""The kind, the number of the level and the text of the scope: the place in the listing."""

START: Key = ("", 0, "")
"""The key before all others."""

_CHUNK = 512
_PARTS = {
    Level.SETTINGS: (),
    Level.PLATFORM: (),
    Level.DOMAIN: ("domain",),
    Level.PROJECT: ("project",),
    Level.PROJECT_DOMAIN: ("project", "domain"),
    Level.WORKFLOW: ("project", "domain", "workflow"),
    Level.LAUNCH_PLAN: ("project", "domain", "workflow", "launch_plan"),
}
"""The parts of the scopes of each level, in the order in which their text has them."""
_POSTED = ("domain", "workflow", "launch_plan")
"""Parts with a list of the records that have each value. A project begins the text of a scope."""


class Entry(NamedTuple):
    """One record. No two have the same key, so that scopes are never compared for order."""

    kind: str
    level: int
    text: str
    scope: Scope

    @classmethod
    def of(cls, kind: str, scope: Scope) -> "Entry":
        return cls(kind, int(scope.level), str(scope), scope)

    @property
    def key(self) -> Key:
        return self.kind, self.level, self.text


@dataclass(frozen=True)
class Search:
    """Selects records; an empty field selects any value."""

    kind: str = ""
    level: str = ""
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""

    @property
    def parts(self) -> dict[str, str]:
        """The parts of scopes that are selected, with their values."""
        names = _PARTS[Level.LAUNCH_PLAN]
        return {name: value for name in names if (value := getattr(self, name))}

    def selects(self, scope: Scope) -> bool:
        """Return whether the parts of the scope are those that are selected."""
        return all(getattr(scope, name) == value for name, value in self.parts.items())


class Found(NamedTuple):
    """The result of one slice of a search."""

    entries: list[Entry]
    last: Key | None
    """Where the next slice goes on; ``None`` where the search has ended."""


class _SortedEntries:
    """Entries in order, in short lists: an entry that is added moves few others."""

    def __init__(self) -> None:
        self._chunks: list[list[Entry]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Entry]:
        for chunk in self._chunks:
            yield from chunk

    def copy(self) -> "_SortedEntries":
        copied = _SortedEntries()
        copied._chunks = [list(chunk) for chunk in self._chunks]
        copied._size = self._size
        return copied

    def add(self, entry: Entry) -> None:
        """Add an entry unless it is there."""
        if not self._chunks:
            self._chunks.append([entry])
            self._size = 1
            return
        number = min(self._chunk_of(entry), len(self._chunks) - 1)
        chunk = self._chunks[number]
        place = bisect_left(chunk, entry)
        if place < len(chunk) and chunk[place] == entry:
            return
        chunk.insert(place, entry)
        self._size += 1
        if len(chunk) > 2 * _CHUNK:
            self._chunks[number : number + 1] = [chunk[:_CHUNK], chunk[_CHUNK:]]

    def remove(self, entry: Entry) -> None:
        """Remove an entry if it is there."""
        number = self._chunk_of(entry)
        chunk = self._chunks[number] if number < len(self._chunks) else []
        place = bisect_left(chunk, entry)
        if place < len(chunk) and chunk[place] == entry:
            del chunk[place]
            self._size -= 1
            if not chunk:
                del self._chunks[number]

    def after(self, key: Key) -> Iterator[Entry]:
        """Yield the entries with this key and later ones, while none is added or removed."""
        first = self._chunk_of(key)
        for number in range(first, len(self._chunks)):
            chunk = self._chunks[number]
            start = bisect_left(chunk, key) if number == first else 0
            yield from islice(chunk, start, None)

    def _chunk_of(self, key: Key | Entry) -> int:
        """Return the number of the first chunk with an entry that is not before the key."""
        # A key is less than the entry with the same key, because it is shorter.
        return bisect_left(self._chunks, key, key=_last)


def _last(chunk: list[Entry]) -> Entry:
    return chunk[-1]


class RecordIndex:
    """The keys of all records, whether they are readable or not."""

    def __init__(self) -> None:
        self._all = _SortedEntries()
        self._posted: dict[tuple[str, str], _SortedEntries] = {}
        """The entries with one value of one part of the scope."""
        self._own: set[tuple[str, str]] = set()
        """The values whose list no copy shares."""
        self._kinds: dict[str, int] = {}
        """The number of entries of each kind."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Entry]:
        """Yield all entries in order, while none is added or removed."""
        return iter(self._all)

    def copy(self) -> "RecordIndex":
        """Return a copy that changes on its own; lists are shared until either of them changes."""
        copied = RecordIndex()
        copied._all = self._all.copy()
        copied._posted = dict(self._posted)
        self._own.clear()
        copied._kinds = dict(self._kinds)
        return copied

    def put(self, kind: str, scope: Scope) -> None:
        """Add a record, if it is new."""
        entry, before = Entry.of(kind, scope), len(self._all)
        self._all.add(entry)
        if len(self._all) > before:
            self._kinds[kind] = self._kinds.get(kind, 0) + 1
            for value in self._values(scope):
                self._own_list(value).add(entry)

    def drop(self, kind: str, scope: Scope) -> None:
        """Remove a record, if it is there."""
        entry, before = Entry.of(kind, scope), len(self._all)
        self._all.remove(entry)
        if len(self._all) == before:
            return
        self._kinds[kind] -= 1
        if not self._kinds[kind]:
            del self._kinds[kind]
        for value in self._values(scope):
            entries = self._own_list(value)
            entries.remove(entry)
            if not entries:
                del self._posted[value]

    def find(self, search: Search, after: Key, most: int) -> Found:
        """Return the entries after a key that a search selects, of the next ``most`` at which it
        looks.
        """
        seen = list(islice(self._candidates(search, after), most))
        found = [entry for entry in seen if search.selects(entry.scope)]
        return Found(found, seen[-1].key if len(seen) == most else None)

    def _own_list(self, value: tuple[str, str]) -> _SortedEntries:
        if value not in self._own or value not in self._posted:
            shared = self._posted.get(value)
            self._posted[value] = _SortedEntries() if shared is None else shared.copy()
            self._own.add(value)
        return self._posted[value]

    def _candidates(self, search: Search, after: Key) -> Iterator[Entry]:
        entries = self._fewest(search)
        for level_range in self._ranges(search, after):
            yield from takewhile(level_range.contains, entries.after(level_range.start(after)))

    def _fewest(self, search: Search) -> _SortedEntries:
        """Return the shortest list that has everything that the search selects."""
        parts = search.parts
        lists = [
            self._posted.get((name, parts[name]), _SortedEntries())
            for name in _POSTED
            if name in parts
        ]
        return min((self._all, *lists), key=len)

    def _ranges(self, search: Search, after: Key) -> Iterator["_Range"]:
        """Yield the ranges of the order that hold everything after a key that is selected."""
        for kind in sorted(self._kinds):
            if search.kind not in ("", kind) or kind < after[0]:
                continue
            for level, names in _PARTS.items():
                if search.level not in ("", level.label) or (kind, level) < after[:2]:
                    continue
                if search.parts.keys() <= set(names):
                    yield _Range.of(kind, level, search)

    def _values(self, scope: Scope) -> Iterator[tuple[str, str]]:
        return ((name, value) for name in _POSTED if (value := getattr(scope, name)))


class _Range(NamedTuple):
    """Entries of one kind and level whose texts begin in the same way."""

    kind: str
    level: Level
    prefix: str
    is_whole: bool
    """Whether the prefix is a whole text."""

    @classmethod
    def of(cls, kind: str, level: Level, search: Search) -> "_Range":
        names, values = _PARTS[level], []
        for name in names:
            if not (value := getattr(search, name)):
                break
            values.append(value)
        is_whole = len(values) == len(names)
        prefix = f"{level.label} {'/'.join(values)}".rstrip()
        if values and not is_whole:
            prefix += "/"
        return cls(kind, level, prefix, is_whole)

    def start(self, after: Key) -> Key:
        # No text is between a text and the same text with this character.
        following = (after[0], after[1], after[2] + "\0")
        return max((self.kind, int(self.level), self.prefix), following)

    def contains(self, entry: Entry) -> bool:
        if (entry.kind, entry.level) != (self.kind, self.level):
            return False
        return entry.text == self.prefix if self.is_whole else entry.text.startswith(self.prefix)
