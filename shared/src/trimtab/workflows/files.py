"""References to files and directories, which inputs and outputs name by URI.

::

    @task
    def count(rows: File) -> int:
        return len(rows.path.read_text().splitlines())
"""

import os
import re
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from trimtab.errors import Rejected

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Reference(os.PathLike[str]):
    """The URI of a file or a directory. Base of `File` and `Directory`."""

    format: ClassVar[str]
    """The format of its text in JSON."""

    def __init__(self, uri: "str | os.PathLike[str]") -> None:
        """Take a URI, such as ``s3://bucket/rows.csv``, or a path of this machine."""
        text = uri.uri if isinstance(uri, Reference) else os.fspath(uri)
        self.uri: str = text if _SCHEME.match(text) else Path(text).absolute().as_uri()

    @property
    def is_local(self) -> bool:
        """Whether it is a path of the machine, and not in a store."""
        parts = urlsplit(self.uri)
        return parts.scheme.lower() == "file" and parts.netloc in ("", "localhost")

    @property
    def path(self) -> Path:
        """The path of this machine. Raises `trimtab.errors.Rejected` where it is elsewhere."""
        if not self.is_local:
            raise Rejected(
                f"the {self.format} {self.uri} has no path on this machine: read it with the "
                "client of its store"
            )
        return Path(unquote(urlsplit(self.uri).path))

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return self.uri

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and str(other) == self.uri

    def __hash__(self) -> int:
        return hash((type(self), self.uri))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        text = core_schema.str_schema(min_length=1, strict=True)
        from_text = core_schema.no_info_after_validator_function(cls, text)
        own = core_schema.is_instance_schema(cls)
        return core_schema.json_or_python_schema(
            json_schema=from_text,
            python_schema=core_schema.union_schema([own, from_text]),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": cls.format}


class File(Reference):
    """A file, as input or output of a task: the URI, not the content."""

    format = "file"


class Directory(Reference):
    """A directory, as input or output of a task: the URI, not the content."""

    format = "directory"
