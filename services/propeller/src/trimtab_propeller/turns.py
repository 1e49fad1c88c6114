"""Decide from which project-domain the next request is taken, and which requests wait. Pure.

A project-domain is named by the subject of its requests.
"""

import random
from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field


class Turns:
    """The subjects that may have requests. Each has its turn after the one that had the last turn.

    The first one is chosen at random, so that propellers that start together begin apart. Nothing
    is lost with this object: another one begins with the subjects that the stream lists.
    """

    def __init__(self, choose: Callable[[Sequence[str]], str] = random.choice) -> None:
        self._subjects: list[str] = []
        self._choose = choose
        self._last: str | None = None

    def add(self, subject: str) -> None:
        if subject not in self:
            insort(self._subjects, subject)

    def remove(self, subject: str) -> None:
        """Give the subject no turn until it is added again."""
        if subject in self:
            self._subjects.remove(subject)

    def next(self) -> str | None:
        """Return the subject whose turn it is; ``None`` where there is none."""
        if not self._subjects:
            return None
        if self._last is None:
            self._last = self._choose(self._subjects)
        else:
            place = bisect_right(self._subjects, self._last)
            self._last = self._subjects[place % len(self._subjects)]
        return self._last

    def __contains__(self, subject: object) -> bool:
        assert isinstance(subject, str)
        place = bisect_right(self._subjects, subject)
        return place > 0 and self._subjects[place - 1] == subject


@dataclass
class _Passed:
    """The requests at the beginning of one subject that were passed."""

    last_sequence: int
    lowest_revision: int
    since: float


@dataclass
class EarlyRequests:
    """The requests that must see newer settings than the view has. Those behind them are taken.

    They are read again once the view has the lowest of their revisions.
    """

    _by_subject: dict[str, _Passed] = field(default_factory=dict)

    def record(self, subject: str, sequence: int, revision: int, now: float) -> None:
        """Record that a request was passed, which needs this revision of the settings."""
        passed = self._by_subject.setdefault(subject, _Passed(sequence, revision, now))
        passed.last_sequence = max(passed.last_sequence, sequence)
        passed.lowest_revision = min(passed.lowest_revision, revision)

    def first_sequence(self, subject: str) -> int:
        """Return from which sequence on the subject may have requests that were not passed."""
        passed = self._by_subject.get(subject)
        return 1 if passed is None else passed.last_sequence + 1

    def forget(self, subject: str) -> None:
        self._by_subject.pop(subject, None)

    def take_due(self, revision: int) -> dict[str, float]:
        """Remove the subjects that have a request for this revision or an older one.

        Return since when each of them has waited.
        """
        due = {s: p.since for s, p in self._by_subject.items() if p.lowest_revision <= revision}
        for subject in due:
            del self._by_subject[subject]
        return due

    def waiting(self, now: float, seconds: float) -> dict[str, int]:
        """Return the subjects that have waited for so long, with the revision that each needs."""
        found = {s: p for s, p in self._by_subject.items() if now - p.since > seconds}
        return {subject: passed.lowest_revision for subject, passed in found.items()}

    def __len__(self) -> int:
        return len(self._by_subject)


@dataclass
class _Unplaced:
    last_sequence: int
    namespace: str
    revision: int
    since: float
    reason: str


@dataclass
class UnplacedRequests:
    """The requests whose namespace can be used, but on no cluster that may be selected for them.

    Those behind them are taken. They are read again when the namespace or the settings change.
    """

    _by_subject: dict[str, _Unplaced] = field(default_factory=dict)

    def record(
        self, subject: str, sequence: int, namespace: str, revision: int, reason: str, now: float
    ) -> None:
        """Record that a request was passed, with the settings of this revision."""
        found = _Unplaced(sequence, namespace, revision, now, reason)
        passed = self._by_subject.setdefault(subject, found)
        passed.last_sequence = max(passed.last_sequence, sequence)
        passed.revision = min(passed.revision, revision)

    def first_sequence(self, subject: str) -> int:
        """Return from which sequence on the subject may have requests that were not passed."""
        passed = self._by_subject.get(subject)
        return 1 if passed is None else passed.last_sequence + 1

    def take_changed(self, namespace: str) -> dict[str, float]:
        """Remove the subjects of a namespace, and return since when they have waited."""
        return self._take(lambda passed: passed.namespace == namespace)

    def take_older(self, revision: int) -> dict[str, float]:
        """Remove the subjects that were passed with settings before this revision."""
        return self._take(lambda passed: passed.revision < revision)

    def forget(self, subject: str) -> None:
        self._by_subject.pop(subject, None)

    def retain(self, subjects: Collection[str]) -> None:
        """Remove all other subjects, because they have no requests any longer."""
        self._by_subject = {s: p for s, p in self._by_subject.items() if s in subjects}

    def waiting(self, now: float, seconds: float) -> dict[str, str]:
        """Return the subjects that have waited for so long, with the reason of the first one."""
        return {s: p.reason for s, p in self._by_subject.items() if now - p.since > seconds}

    def _take(self, is_due: Callable[[_Unplaced], bool]) -> dict[str, float]:
        taken = {s: passed.since for s, passed in self._by_subject.items() if is_due(passed)}
        for subject in taken:
            del self._by_subject[subject]
        return taken


@dataclass
class AwaitedNamespaces:
    """The subjects whose requests wait for their namespace. They have no turns meanwhile."""

    _by_namespace: dict[str, dict[str, float]] = field(default_factory=dict)
    """Since when each subject waits. A namespace may be for several projects or domains."""
    _subjects: set[str] = field(default_factory=set)

    def record(self, subject: str, namespace: str, now: float) -> None:
        """Record that the requests of a subject wait for a namespace."""
        self._by_namespace.setdefault(namespace, {}).setdefault(subject, now)
        self._subjects.add(subject)

    def take(self, namespace: str) -> Mapping[str, float]:
        """Remove the subjects that wait for a namespace, and return since when they have waited."""
        taken = self._by_namespace.pop(namespace, {})
        self._subjects.difference_update(taken)
        return taken

    def retain(self, subjects: Collection[str]) -> None:
        """Remove all other subjects, because they have no requests any longer."""
        for namespace, waiting in list(self._by_namespace.items()):
            self._by_namespace[namespace] = {s: t for s, t in waiting.items() if s in subjects}
            if not self._by_namespace[namespace]:
                del self._by_namespace[namespace]
        self._subjects.intersection_update(subjects)

    @property
    def by_namespace(self) -> Mapping[str, Mapping[str, float]]:
        """Since when each subject waits, by namespace."""
        return self._by_namespace

    def __contains__(self, subject: object) -> bool:
        return subject in self._subjects
