"""Types of labels, annotations, object names and environment variables of Kubernetes. Pure.

They are pydantic types, so every field that has one is validated wherever it occurs. Grammars:
apimachinery ``util/validation/validation.go``.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from trimtab import placeholders

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

MAX_NAME = 63
MAX_SUBDOMAIN = 253
MAX_LABELS = 48
"""The most labels that an execution may have of all its sources together. Its project, its launch
plan and its request may have 16 each in Flyte; pods have at most 16 more of our own."""
MAX_ANNOTATIONS = 240 * 1024
"""The largest total size of the annotations of an execution, keys and values, in bytes. Kubernetes
accepts 256 KiB for one object, and the rest is for annotations of our own."""
RESERVED = "trimtab.io"
"""The prefix of keys that only Trimtab sets. Keys of Kubernetes, such as those below
``kubernetes.io/``, may be set, because many are meant for users; it refuses the others itself."""
POD_TEMPLATE = f"{RESERVED}/pod-template"
"""The annotation that names the template of a pod; the only key below the prefix that may be set.
"""

_KEY = (
    "a name of at most 63 letters, digits and - _ . that begins and ends with a letter or digit, "
    'optionally after a DNS name and a /; for example "team" or "example.com/team"'
)
_VALUE = (
    "at most 63 letters, digits and - _ . that begin and end with a letter or digit; or empty text"
)
_OBJECT = "at most 253 small letters, digits and - . that begin and end with a letter or digit"


def is_reserved(field: str, key: str) -> bool:
    """Return whether a key of ``labels`` or ``annotations`` is one that only Trimtab sets.

    Those below `RESERVED`, or below a subdomain of it, are.
    """
    if field == "annotations" and key == POD_TEMPLATE:
        return False
    prefix, slash, _ = key.partition("/")
    return bool(slash) and (prefix == RESERVED or prefix.endswith(f".{RESERVED}"))


def _check_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if not _is_name(name) or (slash and not _is_subdomain(prefix)):
        raise ValueError(_KEY)
    return text


def label_value(text: str) -> str:
    """Return the text unchanged. Raises `ValueError` where it cannot be the value of a label."""
    if text and not _is_name(text):
        raise ValueError(_VALUE)
    return text


def _check_template(text: str) -> str:
    placeholders.check(text)
    label_value(placeholders.fill(text, dict.fromkeys(placeholders.NAMES, "x")))
    return text


def _check_variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise ValueError("letters, digits and - _ . that do not begin with a digit")
    return text


def _check_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without a zero byte")
    return text


def _check_object_name(text: str) -> str:
    if not _is_subdomain(text):
        raise ValueError(_OBJECT)
    return text


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def _is_subdomain(text: str) -> bool:
    return len(text) <= MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


LabelKey = Annotated[str, AfterValidator(_check_key)]
"""The key of a label or annotation."""
LabelValue = Annotated[str, AfterValidator(label_value)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]
"""Labels of an execution; Flyte allows as many."""
LabelTemplate = Annotated[str, AfterValidator(_check_template)]
"""Text that is the value of a label once its placeholders are filled."""
VariableName = Annotated[str, AfterValidator(_check_variable)]
VariableValue = Annotated[str, AfterValidator(_check_text)]
ObjectName = Annotated[str, AfterValidator(_check_object_name)]
"""The name of a ServiceAccount and of most other objects."""
Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_text)]
"""Text that is not empty."""
