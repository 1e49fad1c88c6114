"""The shared memory of the primary container. Pure."""

from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.pods.draft import Draft


def add_shared_memory(draft: Draft, attempt: Attempt) -> None:
    """Mount a volume of memory as ``/dev/shm``. The draft has its resources already."""
