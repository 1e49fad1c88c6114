"""Names of images: their grammar, and a warning about those whose content may change. Pure.

Grammar: distribution ``reference/regexp.go``.
"""

import re
import sys
import warnings
from types import FrameType
from typing import Annotated

from pydantic import AfterValidator

from trimtab.errors import Invalid

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?P<name>(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?"
)
_MAX_NAME = 255
_MAX_LENGTH = 600
ALLOWED = (
    'an image such as "registry.example.com/team/train:v1" or "train@sha256:…" with 64 hexadecimal '
    "digits; its name has small letters"
)


class ImageWarning(UserWarning):
    """An image has no fixed content: later attempts may run another program."""


def _parse(image: str) -> re.Match[str] | None:
    found = _REFERENCE.fullmatch(image) if len(image) <= _MAX_LENGTH else None
    return found if found is not None and len(found["name"]) <= _MAX_NAME else None


def _validate(image: str) -> str:
    if _parse(image) is None:
        raise ValueError(ALLOWED)
    return image


ImageName = Annotated[str, AfterValidator(_validate)]
"""An image: ``registry/repository:tag@digest``, of which only the repository is required."""


def check_image(path: str, image: object) -> None:
    """Raise `Invalid` where a value is not the name of an image."""
    if not isinstance(image, str) or _parse(image) is None:
        raise Invalid(path, image, ALLOWED)


def warn_if_mutable(image: str) -> None:
    """Warn about an image without a digest whose tag is absent or ``latest``.

    The warning has file and line of the code that called the SDK.
    """
    found = _parse(image)
    if found is None or found["digest"] or found["tag"] not in (None, "latest"):
        return
    lack = "the tag latest" if found["tag"] else "no tag"
    message = (
        f"image {image!r} has {lack} and no digest, so its content may change between attempts; "
        "name a version or a digest"
    )
    warnings.warn(message, ImageWarning, stacklevel=1 + _library_frames())


def _library_frames() -> int:
    """Return how many of the innermost frames are the library's."""
    count, frame = 0, sys._getframe(1)
    caller: FrameType | None = frame
    while caller is not None and str(caller.f_globals.get("__name__")).startswith("trimtab."):
        count, caller = count + 1, caller.f_back
    return count
