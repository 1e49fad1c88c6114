"""Full collections of garbage wait for the end of requests with many documents."""

import gc
from collections.abc import Iterator

import pytest

from trimtab_admin.garbage import FullCollections

THRESHOLDS = (50, 2, 2)


class Cycle:
    """An object that only the collector frees."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture(autouse=True)
def _low_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.freeze()  # The objects of other tests would be looked at again and again.
    gc.collect()
    gc.set_threshold(*THRESHOLDS)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def collections_of(generation: int) -> int:
    return int(gc.get_stats()[generation]["collections"])


def make_objects() -> list[Cycle]:
    """Make garbage, and as many objects that stay: only for new ones is a collection full."""
    made = (Cycle() for _ in range(40 * THRESHOLDS[0] * THRESHOLDS[1] * THRESHOLDS[2]))
    return [each for number, each in enumerate(made) if number % 2]


def test_young_garbage_alone_is_collected_until_all_blocks_have_ended() -> None:
    full_collections = FullCollections()
    with full_collections.postponed():
        with full_collections.postponed():
            pass
        full, young = collections_of(2), collections_of(1)
        kept = make_objects()
        assert collections_of(2) == full
        assert collections_of(1) > young
    kept += make_objects()
    assert collections_of(2) > full
    assert gc.get_threshold() == THRESHOLDS


def test_full_collections_go_on_after_a_block_that_failed() -> None:
    with pytest.raises(ZeroDivisionError), FullCollections().postponed():
        raise ZeroDivisionError
    assert gc.get_threshold() == THRESHOLDS
