"""Documents of settings in files and directories, in our format or in that of attribute files.

The ``kind`` of a document is the name or noun of a kind, or ``project``, ``domain``, ``cluster``,
``pool`` or ``queue``. Its fields are under ``document``, or next to its scope as in an attribute
file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab import yaml_texts
from trimtab.api.settings import DocumentBody
from trimtab.cli import attribute_files
from trimtab.cli.kinds import KindFinder
from trimtab.cli.scopes import SCOPE_KEYS, file_scope_parts
from trimtab.errors import Invalid
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.models import parse_model

ENTITIES = frozenset({"project", "domain", "cluster", "pool", "queue"})
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True)
class FileDocument:
    """A document and where it is from."""

    source: str
    """The file, and the number of the document where the file holds several."""
    body: DocumentBody


@dataclass(frozen=True)
class DocumentReader:
    """Reads documents, with the defaults of the command line."""

    find: KindFinder
    kind: str
    """The kind of documents that have none."""
    domain_wide: bool
    """Whether an empty project beside a domain stands for the whole domain."""

    def read(self, paths: Sequence[Path]) -> list[FileDocument]:
        """Read every document of files and directories. Raises `Rejected` with the file."""
        return [
            document
            for path in paths
            for file in _files(path)
            for document in self._documents(file)
        ]

    def _documents(self, file: Path) -> Iterator[FileDocument]:
        name = attribute_files.source_name(file)
        contents = yaml_texts.parse(name, attribute_files.read_text(file))
        for number, content in enumerate(contents, 1):
            source = f"{name}, document {number}" if len(contents) > 1 else name
            if content is not None:
                yield FileDocument(source, self._parse(source, content))

    def _parse(self, source: str, content: object) -> DocumentBody:
        if not isinstance(content, dict):
            raise Invalid(source, content, "a mapping: kind, scope and fields")
        name = content.get("kind", self.kind)
        if not name or not isinstance(name, str):
            allowed = "a kind or its noun; --kind sets it for documents without one"
            raise Invalid(f"{source}: kind", name or None, allowed)
        fields = {key: value for key, value in content.items() if key != "kind"}
        if "document" in fields:
            kind = name if name in ENTITIES else self.find(name).name
            parts = file_scope_parts(source, fields, domain_wide=self.domain_wide)
            others = {key: value for key, value in fields.items() if key not in SCOPE_KEYS}
            return _parse_body(source, {**others, **parts, "kind": kind})
        if name in ENTITIES:
            document = {key: value for key, value in fields.items() if key != "name"}
            entity = {"kind": name, "name": fields.get("name", ""), "document": document}
            return _parse_body(source, entity)
        return self._parse_attributes(source, self.find(name), fields)

    def _parse_attributes(
        self, source: str, kind: Kind, content: Mapping[str, Any]
    ) -> DocumentBody:
        """Parse a document in the format of an attribute file."""
        file = attribute_files.of_content(source, content, domain_wide=self.domain_wide)
        if not file.scope_parts:
            allowed = (
                "a project or domain; for the platform level, write the fields under `document:`"
            )
            raise Invalid(source, None, allowed)
        body = _parse_body(source, {"kind": kind.name, **file.scope_parts, "document": {}})
        return body.model_copy(update={"document": file.document(kind, scope_of(body))})


def scope_of(body: DocumentBody) -> Scope:
    """Return the scope of a record's document."""
    return Scope(body.domain, body.project, body.workflow, body.launch_plan)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix in _SUFFIXES and file.is_file() and not hidden:
            yield file


def _parse_body(source: str, content: Mapping[str, Any]) -> DocumentBody:
    try:
        return parse_model(DocumentBody, content)
    except Invalid as error:
        raise Invalid(f"{source}: {error.path}", error.value, error.allowed) from error
