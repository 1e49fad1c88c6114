"""Rows that were just committed: the relay gets those that follow what is published, or none."""

from trimtab_admin.storage.fresh_rows import FreshRows
from trimtab_admin.storage.outbox import RELAY_BATCH, OutboxRow


def rows(*revisions: int) -> list[OutboxRow]:
    return [OutboxRow(number, number, "", "", "", "", "") for number in revisions]


def test_rows_are_taken_up_to_the_first_gap() -> None:
    fresh = FreshRows()
    assert fresh.add(rows(1, 2, 3, 5))
    assert fresh.take_after(1) == rows(2, 3)
    assert fresh.take_after(3) == []
    assert fresh
    assert fresh.take_after(4) == rows(5)
    assert not fresh


def test_rows_that_are_published_already_are_dropped() -> None:
    fresh = FreshRows()
    assert fresh.add(rows(1, 2, 2, 1, 3))
    assert fresh.take_after(2) == rows(3)
    assert not fresh


def test_more_rows_than_the_relay_reads_faster_are_not_kept() -> None:
    fresh = FreshRows()
    assert fresh.add(rows(1))
    assert not fresh.add(rows(*range(2, 2 + 2 * RELAY_BATCH)))
    assert not fresh
