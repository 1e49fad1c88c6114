"""Placeholders in texts of the settings, which are filled when an execution is admitted. Pure.

``{{ name }}`` with one blank on each side is a placeholder, as in templates of namespaces. A word
in braces that is none of `NAMES`, or has other blanks, is a mistake. In four braces it is meant for
another system, ``{{{{ ds }}}}`` stands for ``{{ ds }}``, and texts in braces that are no word, such
as ``{{ .Values.x }}`` and ``{{ ds | upper }}``, are left alone.
"""

import re
from collections.abc import Iterator, Mapping

from trimtab import names

NAMES = ("project", "domain", "workflow", "launch_plan", "execution")
"""The placeholders that each execution can fill."""
_WORD = r"[ \t\r\n]*[A-Za-z_][A-Za-z0-9_-]*[ \t\r\n]*"
_BRACES = re.compile(rf"\{{\{{\{{\{{(?P<escaped>{_WORD})\}}\}}\}}\}}|\{{\{{(?P<word>{_WORD})\}}\}}")
_BY_WORD = {f" {name} ": name for name in NAMES}


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each placeholder once; ``values`` must have each of `NAMES`.

    What is a mistake stays as it is.
    """
    return _BRACES.sub(lambda found: _replacement(found, values), text)


def mistakes(text: str) -> Iterator[str]:
    """Yield each part of a text that looks like a placeholder and can be filled by no execution."""
    for found in _BRACES.finditer(text):
        if found["word"] is not None and found["word"] not in _BY_WORD:
            yield found[0]


def check(text: str) -> None:
    """Raise `ValueError` on the first mistake."""
    for mistake in mistakes(text):
        known = [f"{{{{{word}}}}}" for word in _BY_WORD]
        # An exact name is the nearest one, however many blanks it has.
        inner = mistake[2:-2].strip()
        near = {f"{{{{ {name} }}}}": None for name in names.nearest(inner, NAMES)}
        question = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"the placeholders {', '.join(known)} with one blank on each side, not {mistake}"
            f"{question}; for another system, write {{{{{mistake}}}}}"
        )


def _replacement(found: re.Match[str], values: Mapping[str, str]) -> str:
    if found["escaped"] is not None:
        return f"{{{{{found['escaped']}}}}}"
    name = _BY_WORD.get(found["word"])
    return found[0] if name is None else values[name]
