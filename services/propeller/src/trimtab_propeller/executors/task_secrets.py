"""Secrets of tasks: read from files when an attempt starts, and kept nowhere.

The file of a secret is ``<project>/<domain>/<group>/<key>`` below one directory, or
``_shared/<group>/<key>``, which tasks of every project may name. A version of the group is one more
directory before the key. The path begins with the attempt's own project and domain, so no task can
name a secret of another project. A task has a secret as a variable that is named as in Flyte:
``_FSEC_<GROUP>_<KEY>``, and as the variable that ``env_var`` names.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from trimtab.kinds.workflow_execution_config import Secret
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import AttemptRejected

SHARED = "_shared"
"""It is not the name of a project, which has no underscore."""
MAX_BYTES = 64 * 1024
"""The size of one secret. The variables of a task have room for as many as it can need."""
MAX_TOTAL_BYTES = 256 * 1024
_PREFIX = "_FSEC_"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
"""The name of one file: no separator, and no name of another directory."""


def variables(directory: Path, attempt: Attempt) -> dict[str, str]:
    """Return the secrets of an attempt by the names of their variables.

    Raises `AttemptRejected`, which names the secret and never repeats its value.
    """
    found: dict[str, str] = {}
    origins: dict[str, list[str]] = {}
    for secret in attempt.secrets:
        names = _names(secret)
        value = _read(directory, attempt, secret)
        for variable in filter(None, (_PREFIX + "_".join(names).upper(), secret.env_var)):
            if origins.setdefault(variable, names) != names:
                raise AttemptRejected(f"two different secrets would be the variable {variable}")
            found[variable] = value
    total = sum(len(value.encode()) for value in found.values())
    if total > MAX_TOTAL_BYTES:
        raise AttemptRejected(f"all secrets have {total} bytes; at most {MAX_TOTAL_BYTES} may be")
    return found


def _names(secret: Secret) -> list[str]:
    return [name for name in (secret.group, secret.group_version, secret.key) if name]


def _read(directory: Path, attempt: Attempt, secret: Secret) -> str:
    shown = "/".join(_names(secret))
    if secret.key is None:
        raise AttemptRejected(f"secret {shown!r} has no key: a task gets single values")
    if secret.mount_requirement == "FILE":
        raise AttemptRejected(f"secret {shown!r} cannot be a file here: a task gets a variable")
    for name in (*_names(secret), attempt.project, attempt.domain):
        if not _NAME.fullmatch(name):
            allowed = "letters, digits and - _ . that do not begin with - or ."
            raise AttemptRejected(f"secret {shown!r}: {name!r} is not valid; allowed: {allowed}")
    for path in _paths(directory, attempt, secret):
        if (content := _content(path, shown)) is not None:
            return _text(content, shown)
    scope = f"project {attempt.project!r} in {attempt.domain!r}"
    raise AttemptRejected(f"secret {shown!r} exists neither for {scope} nor for all projects")


def _paths(directory: Path, attempt: Attempt, secret: Secret) -> Iterator[Path]:
    names = _names(secret)
    yield directory.joinpath(attempt.project, attempt.domain, *names)
    yield directory.joinpath(SHARED, *names)


def _content(path: Path, shown: str) -> bytes | None:
    """Return the content of a regular file; ``None`` where there is none."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AttemptRejected(f"secret {shown!r} cannot be read: {error.strerror}") from None


def _text(content: bytes, shown: str) -> str:
    if len(content) > MAX_BYTES:
        raise AttemptRejected(f"secret {shown!r} has more than {MAX_BYTES} bytes")
    try:
        text = content.decode().removesuffix("\n")
    except UnicodeDecodeError:
        # The error of Python would carry the content.
        raise AttemptRejected(f"secret {shown!r} is not text in UTF-8") from None
    if "\0" in text:
        raise AttemptRejected(f"secret {shown!r} has a zero byte, which no variable can hold")
    return text
