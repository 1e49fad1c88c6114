"""Reads the files of a directory of templates."""

import os
from pathlib import Path

from trimtab.errors import Unavailable
from trimtab.templates.parsing import BadTemplate
from trimtab.templates.rendering import Source


def read_templates(directory: Path) -> list[Source]:
    """Read every ``*.yaml`` of the directory, in ascending byte order of the names.

    Read again for each render, so that an edit needs no restart. Raises `Unavailable` and
    `BadTemplate`.
    """
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)
    except OSError as error:
        raise Unavailable(f"templates {directory} cannot be read: {error.strerror}") from error
    return [_read_template(directory / name) for name in names if name.endswith(".yaml")]


def _read_template(path: Path) -> Source:
    try:
        return Source(path.name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise BadTemplate(path.name, "is not UTF-8") from error
    except OSError as error:
        raise Unavailable(f"template {path.name} cannot be read: {error.strerror}") from error
