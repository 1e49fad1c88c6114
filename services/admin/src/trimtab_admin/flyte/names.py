"""Checks of the names and labels of projects, with the texts that Flyte 1 shows. Pure.

The texts are those of Kubernetes, in which Flyte reports what is wrong with a name.
"""

import re
from collections.abc import Mapping, Sequence

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_NAME})?"
_MAX_LABELS = 16
_MAX_NAME, _MAX_SUBDOMAIN = 63, 253

_OF_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character",
    ("my-name", "123-abc"),
    _LABEL,
)
_OF_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character",
    ("example.com",),
    _SUBDOMAIN,
)
_OF_NAME = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character",
    ("MyName", "my.name", "123-abc"),
    _NAME,
)
_OF_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character",
    ("MyValue", "my_value", "12345"),
    _VALUE,
)


def problem_of_id(name: str) -> str:
    """Return what is wrong with the id of a project; empty where nothing is."""
    problems = _too_long(name, _MAX_NAME)
    if not re.fullmatch(_LABEL, name):
        has_dots = re.fullmatch(_SUBDOMAIN, name) is not None
        problems.append("must not contain dots" if has_dots else _mismatch(*_OF_LABEL))
    return f"invalid project id [{name}]: [{' '.join(problems)}]" if problems else ""


def problem_of_labels(labels: Mapping[str, str]) -> str:
    """Return what is wrong with labels; empty where nothing is."""
    if len(labels) > _MAX_LABELS:
        return f"labels map cannot exceed {_MAX_LABELS} entries"
    for key, value in sorted(labels.items()):
        if problems := _of_key(key):
            return f"invalid label key [{key}]: [{' '.join(problems)}]"
        problems = _too_long(value, _MAX_NAME)
        if not re.fullmatch(_VALUE, value):
            problems.append(_mismatch(*_OF_VALUE))
        if problems:
            return f"invalid label value [{value}]: [{' '.join(problems)}]"
    return ""


def _of_key(key: str) -> list[str]:
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        qualified = f"a qualified name {_mismatch(*_OF_NAME)}"
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"{qualified} {optional}"]
    problems = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        of_prefix = _too_long(prefix, _MAX_SUBDOMAIN)
        if not re.fullmatch(_SUBDOMAIN, prefix):
            of_prefix.append(_mismatch(*_OF_SUBDOMAIN))
        problems += [f"prefix part {problem}" for problem in of_prefix]
    of_name = _too_long(name, _MAX_NAME)
    if not name:
        of_name.append("must be non-empty")
    elif not re.fullmatch(_NAME, name):
        of_name.append(_mismatch(*_OF_NAME))
    return [*problems, *(f"name part {problem}" for problem in of_name)]


def _too_long(text: str, most: int) -> list[str]:
    return [f"must be no more than {most} characters"] if len(text.encode()) > most else []


def _mismatch(rule: str, examples: Sequence[str], pattern: str) -> str:
    shown = ",  or ".join(f"'{example}'" for example in examples)
    return f"{rule} (e.g. {shown}, regex used for validation is '{pattern}')"
