"""What Kubernetes takes for labels, annotations, names of objects and environment variables. Pure.

Grammars: apimachinery ``util/validation/validation.go``. They are pydantic types, so that a field
is held to them wherever it stands.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")

PLACEHOLDERS = ("project", "domain", "workflow", "launch_plan", "execution")
"""Names that settings may use as ``{{ name }}``; filled once, when an execution is admitted."""
_PLACEHOLDER = re.compile(r"\{\{ (" + "|".join(PLACEHOLDERS) + r") \}\}")

MAX_NAME = 63
MAX_SUBDOMAIN = 253
MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all annotations of one object together."""

_KEY = (
    "a name of at most 63 letters, digits and - _ . that begins and ends with a letter or digit, "
    'with a DNS name and / before it where it needs one; for example "team", "example.com/team"'
)
_VALUE = (
    "at most 63 letters, digits and - _ . that begin and end with a letter or digit, or nothing"
)
_OBJECT = "at most 253 small letters, digits and - . that begin and end with a letter or digit"


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Replace each ``{{ name }}`` once; ``values`` has each of `PLACEHOLDERS`."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def _key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if not _is_name(name) or (slash and not _is_subdomain(prefix)):
        raise ValueError(_KEY)
    return text


def label_value(text: str) -> str:
    """The text. Raises `ValueError` where it can be none."""
    if text and not _is_name(text):
        raise ValueError(_VALUE)
    return text


def _template(text: str) -> str:
    label_value(fill_placeholders(text, dict.fromkeys(PLACEHOLDERS, "x")))
    return text


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise ValueError("letters, digits and - _ . that do not begin with a digit")
    return text


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without a zero byte")
    return text


def _object(text: str) -> str:
    if not _is_subdomain(text):
        raise ValueError(_OBJECT)
    return text


def _is_name(text: str) -> bool:
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def _is_subdomain(text: str) -> bool:
    return len(text) <= MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


LabelKey = Annotated[str, AfterValidator(_key)]
"""Of labels and annotations."""
LabelValue = Annotated[str, AfterValidator(label_value)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]
"""As many as Flyte takes."""
LabelTemplate = Annotated[str, AfterValidator(_template)]
"""A label's value, but for its placeholders."""
VariableName = Annotated[str, AfterValidator(_variable)]
VariableValue = Annotated[str, AfterValidator(_text)]
ObjectName = Annotated[str, AfterValidator(_object)]
"""Of a ServiceAccount and most other objects."""
Text = Annotated[str, StringConstraints(min_length=1), AfterValidator(_text)]
"""Something that has to be said."""
