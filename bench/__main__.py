"""Run all benchmarks and print each figure with its limit: ``python -m bench``."""

import platform
from importlib.metadata import version

from bench import (
    attempts,
    bundles,
    durability,
    executions,
    flyte_doors,
    fold,
    held,
    namespaces,
    nodes,
    pods,
    resmgr,
    resolution,
    roundtrips,
    sdk,
    settings,
    story,
    views,
    waits,
)

print(
    f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, trimtab",
    end=" ",
)
print(version("trimtab"))
MODULES = (
    fold,
    views,
    settings,
    waits,
    executions,
    flyte_doors,
    pods,
    resolution,
    story,
    attempts,
    nodes,
    durability,
    resmgr,
    held,
    namespaces,
    roundtrips,
    sdk,
    bundles,
)
for module in MODULES:
    print(f"\n{(module.__doc__ or '').splitlines()[0]}")
    module.run()
