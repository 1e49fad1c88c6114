"""The directory of templates: read afresh for each render, so that an edit needs no restart."""

import os
from pathlib import Path

from trimtab.errors import Unavailable
from trimtab_clusterres.render import Source
from trimtab_clusterres.templates import BadTemplate


def read(directory: Path) -> list[Source]:
    """Every ``*.yaml`` in ascending byte order of names. Raises `Unavailable`, `BadTemplate`."""
    try:
        names = sorted(os.listdir(directory), key=os.fsencode)
    except OSError as error:
        raise Unavailable(f"templates {directory} cannot be read: {error.strerror}") from error
    return [_read(directory / name) for name in names if name.endswith(".yaml")]


def _read(path: Path) -> Source:
    try:
        return Source(path.name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise BadTemplate(path.name, "is not UTF-8") from error
    except OSError as error:
        raise Unavailable(f"template {path.name} cannot be read: {error.strerror}") from error
