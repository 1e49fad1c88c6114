"""Text that a terminal shows as it is: what would move the cursor or the order is escaped. Pure.

Names, messages and values come from servers and files. A control character in them could rewrite
what was printed before, and a character that changes the direction of text could hide what follows.
"""

import json
import re
from typing import Any

import yaml

from trimtab import yaml_texts

# The C0 and C1 controls but tab and new line, the bidirectional embeddings, overrides and isolates
# of UAX 9, and halves of surrogate pairs, which no encoding of a terminal has.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    r"""Return the text with each unsafe character as ``\x1b`` or ``\u202e``."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def in_one_line(text: str) -> str:
    """Return a text with names of another system, of which none can begin a line of its own."""
    return text.replace("\n", "\\n")


def to_json(value: Any, **options: Any) -> str:
    """Return JSON in readable Unicode; the options are those of `json.dumps`."""
    text = json.dumps(value, ensure_ascii=False, **options)
    # JSON has them in strings only, and escapes those of ASCII itself.
    return escape_quoted(text)


def to_yaml(value: Any) -> str:
    """Return YAML in readable Unicode, or in ASCII where a character is unsafe."""
    text: str = yaml.dump(value, Dumper=yaml_texts.Dumper, sort_keys=False, allow_unicode=True)
    if _UNSAFE.search(text):
        text = yaml.dump(value, Dumper=yaml_texts.Dumper, sort_keys=False)
    return text


def escape_quoted(text: str) -> str:
    """Return JSON or YAML, in which only quoted strings have unsafe characters, without them."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
