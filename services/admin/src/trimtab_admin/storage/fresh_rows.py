"""The rows that this process has just committed, so that the relay need not read them. Pure.

They are a shortcut only: the relay reads from the outbox whatever is missing here.
"""

from collections import deque
from collections.abc import Sequence

from trimtab_admin.storage.outbox import RELAY_BATCH, OutboxRow

_MOST = 2 * RELAY_BATCH
"""With more rows than these, the relay is not at the end of the outbox: it reads them faster."""


class FreshRows:
    """Committed rows that the relay has not taken yet."""

    def __init__(self) -> None:
        self._rows: deque[OutboxRow] = deque()

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, rows: Sequence[OutboxRow]) -> bool:
        """Return whether the rows are kept; otherwise they, and those before them, are not."""
        if len(self._rows) + len(rows) > _MOST:
            self.clear()
            return False
        self._rows.extend(rows)
        return True

    def take_after(self, revision: int) -> list[OutboxRow]:
        """Take the rows that follow a revision without a gap; drop those up to the revision."""
        taken: list[OutboxRow] = []
        while self._rows and self._rows[0].revision <= revision + 1:
            row = self._rows.popleft()
            if row.revision == revision + 1:
                taken.append(row)
                revision += 1
        return taken

    def clear(self) -> None:
        self._rows.clear()
