"""Names of what an execution is of, inside the values that it runs with. Pure.

``{{ project }}`` and its like are filled in once, when the execution is admitted; other braces stay
as they are, and what was filled in is not looked at again.
"""

import re
from collections.abc import Mapping

NAMES = ("project", "domain", "workflow", "launch_plan", "execution")
_PLACEHOLDER = re.compile(r"\{\{ (" + "|".join(NAMES) + r") \}\}")


def filled(text: str, names: Mapping[str, str]) -> str:
    """``names`` has each of `NAMES`."""
    return _PLACEHOLDER.sub(lambda found: names[found[1]], text)
