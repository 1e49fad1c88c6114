"""Names and texts that may be credentials: for warnings, and to hide them in errors. Pure.

The texts are those of widespread tokens and keys; a credential without such a form is not found.
"""

import re
from collections.abc import Iterator, Mapping

_NAME = re.compile(
    r"(?:secret|token|passw(?:or)?d|passphrase|pwd|credentials?|cookie"
    r"|(?:api|access|secret|private|auth|encryption|signing)[-_.]?key)$",
    re.IGNORECASE,
)
"""The end of the name of a credential: ``HF_TOKEN``, and not ``TOKENIZERS_PARALLELISM``."""
_PART_OF_NAME = re.compile(
    r"^(?!.*(file|path)$).*(secret|token|passw|pwd|credential|private|api_?key|access_?key|host_?key"
    r"|auth|cookie)|^envs?$|^environment$",
    re.IGNORECASE,
)
"""The path of a file is none."""
_MAX_NAME = 1000
"""A longer text is no name, and not worth the time of the expression."""
_TEXT = re.compile(
    r"trimtab_[a-z0-9]{10}_|-----BEGIN |\beyJ[\w-]{10}|^(Bearer|Basic) "
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[opsur]_\w{20}|\bgithub_pat_\w{20}|\bglpat-[\w-]{16}"
    r"|\bxox[abeoprs]-[\w-]{10}|\bAIza[\w-]{30}"
)
_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/@]+@")
_WORD = re.compile(r"\S+")
_LOGIN = re.compile(r"(://[^\s/:@]*):\S*@|://[^\s/:@]+@")
"""A password that may have a slash or an ``@``, or a user alone, which may be a token."""


def may_hold(name: str) -> bool:
    """Whether the value of a field of that name may be a credential, so that it is not shown.

    Environment variables often hold some, whatever their names are.
    """
    return len(name) > _MAX_NAME or _PART_OF_NAME.search(name) is not None


def is_in(text: str) -> bool:
    """Whether a text has the form of a token or of a key."""
    return _TEXT.search(text) is not None


def without_password(text: str) -> str:
    """Return the text without the passwords of URLs in it, in time linear in its length."""
    return _WORD.sub(lambda word: _hide_logins(word[0]), text)


def _hide_logins(word: str) -> str:
    # The expression would look for an "@" behind the last one again and again.
    start, at, end = word.rpartition("@")
    hidden = _LOGIN.sub(lambda found: f"{found[1]}:…@" if found[1] else "://…@", start + at)
    return hidden + end


def is_likely(name: str, value: str) -> bool:
    """Whether a variable is likely a credential, by its name or its value.

    An empty value, a path and a placeholder are none, whatever the name is.
    """
    if is_in(value) or _PASSWORD.search(value):
        return True
    return _NAME.search(name) is not None and bool(value) and not value.startswith(("/", "{{"))


def warnings(value: object, path: str = "") -> Iterator[str]:
    """Yield a warning, without the text, for each text in a JSON value that is likely one."""
    for name, item in _items(value):
        inner = f"{path}.{name}" if path else name
        if not isinstance(item, str):
            yield from warnings(item, inner)
        elif is_likely(name, item):
            yield (
                f"{inner} looks like a credential, which every viewer can read; "
                "keep it in a secret, and name that in security_context.secrets"
            )


def _items(value: object) -> Iterator[tuple[str, object]]:
    """Return the items of an object, or those of a list by their index."""
    match value:
        case Mapping():
            return ((str(name), item) for name, item in value.items())
        case list() | tuple():
            return ((str(index), item) for index, item in enumerate(value))
        case _:
            return iter(())
