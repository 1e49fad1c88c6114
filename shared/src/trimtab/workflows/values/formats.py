"""Texts with a format, such as dates and files, as JSON Schemas name it. Pure."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from pydantic import AnyUrl, TypeAdapter, ValidationError

FORMATS: Mapping[str, str] = {
    "date-time": "a time such as 2030-01-31T12:00:00Z",
    "date": "a date such as 2030-01-31",
    "time": "a time of day such as 12:30:00",
    "duration": "a duration such as PT1H30M",
    "uri": "a URI such as https://example.com/rows.csv",
    "uuid": "a UUID such as 5cf5f7a2-8a7e-4e3c-9a1f-2f6b6f0c9a11",
    "file": "a file: its path, or a URI such as s3://bucket/rows.csv",
    "directory": "a directory: its path, or a URI such as s3://bucket/rows",
}
"""Describes the texts of each format."""

_ADAPTERS: Mapping[str, TypeAdapter[Any]] = {
    "date-time": TypeAdapter(datetime),
    "date": TypeAdapter(date),
    "time": TypeAdapter(time),
    "duration": TypeAdapter(timedelta),
    "uri": TypeAdapter(AnyUrl),
    "uuid": TypeAdapter(UUID),
}
_MAX_CHARACTERS = 10_000
# pydantic also reads a text of digits, as seconds since 1970.
_BEGINS_WITH_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def is_of(name: str, text: str) -> bool:
    """Return whether a text has the format. Every text has a format that is unknown."""
    if len(text) > _MAX_CHARACTERS and name in FORMATS:
        return False
    if name in ("file", "directory"):
        return bool(text) and text.isprintable()
    if name in ("date-time", "date") and not _BEGINS_WITH_DATE.match(text):
        return False
    adapter = _ADAPTERS.get(name)
    try:
        return adapter is None or adapter.validate_strings(text, strict=True) is not None
    except (ValidationError, ValueError):
        return False
