"""Pods built per second in one process, compared with the copy of a finished one.

The pods are golden ones: a container with resources, the same with templates in its command, and a
pod with a sidecar and a template of the configuration below it.
Run as ``python -m bench.pods``.
"""

import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial

from tests.golden_pods import CASES
from trimtab_propeller.pods import build_pod

GOAL = 5_000
SHOWN = {
    "container": "a container",
    "templates": "  with fourteen templates",
    "base_template": "  with sidecars, over a template",
}
PODS = 2_000
ROUNDS = 5


def per_second(work: Callable[[], object]) -> float:
    """Return the best of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        # The work waits for nothing, so the load of the machine by other processes must not count.
        began = time.process_time()
        for _ in range(PODS):
            work()
        rounds.append(PODS / (time.process_time() - began))
    return max(rounds)


def run() -> None:
    for name, shown in SHOWN.items():
        attempt, defaults = CASES[name].attempt(), CASES[name].pod_defaults
        rate = per_second(partial(build_pod, attempt, defaults))
        limit = per_second(partial(deepcopy, build_pod(attempt, defaults)))
        goal = f"goal ≥ {GOAL:,}/s" if name == "container" else ""
        print(f"pod built: {shown:<36}{rate:>9,.0f}/s   {rate / limit:.1f} × a deep copy   {goal}")


if __name__ == "__main__":
    run()
