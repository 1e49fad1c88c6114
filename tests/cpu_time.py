"""The CPU time of work, to compare with that of other work in the same process.

A test that compares it with seconds would fail on a slow machine.
"""

import gc
import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object]) -> float:
    """Do the work, and return the CPU time that this process took for it.

    Garbage is not collected meanwhile, because that takes the time of what other tests have left.
    """
    gc.disable()
    began = time.process_time()
    try:
        work()
        return time.process_time() - began
    finally:
        gc.enable()
