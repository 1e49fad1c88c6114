"""Full collections of garbage, each of which stops all other work for as long as it takes."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEVER = 1_000_000_000


class FullCollections:
    """The full collections of this process. One of the first two generations is not full."""

    def __init__(self) -> None:
        self._postponing = 0
        self._thresholds = gc.get_threshold()

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Run no full collection until all blocks have ended; young garbage is collected.

        In the middle of a request of 20,000 documents, a full collection looks at a million
        objects for 200 ms and frees hardly any: nearly all are freed without it, at the end.
        """
        if not self._postponing:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(*self._thresholds[:2], _NEVER)
        self._postponing += 1
        try:
            yield
        finally:
            self._postponing -= 1
            if not self._postponing:
                gc.set_threshold(*self._thresholds)


full_collections = FullCollections()
"""The one of this process, whose collector is one too."""
