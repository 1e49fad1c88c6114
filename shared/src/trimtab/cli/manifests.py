"""Files of many documents: what ``trimtab apply`` reads and ``trimtab export`` writes.

A document says its ``kind``, which is a kind, its noun, or ``project``, ``domain``, ``cluster``,
``pool``. The fields stand under ``document``; or beside the place, as in flytectl's files.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.api.settings import DocumentBody
from trimtab.cli import documents
from trimtab.cli.documents import PLACES, AttributeFile, places_in
from trimtab.errors import Invalid, Rejected
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.models import parse_model

STDIN = Path("-")
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_NOUNS = frozenset({"project", "domain", "cluster", "pool"})
_INDEX = re.compile(r"documents\.(\d+)(?:\.document\b)?[.:]? ?")

Find = Callable[[str], Kind]
"""A kind by its name or noun. Raises `trimtab.errors.NotFound`."""


@dataclass(frozen=True)
class Manifest:
    """One document of a file."""

    where: str
    body: DocumentBody


def read(paths: Sequence[Path], find: Find, kind: str) -> list[Manifest]:
    """Every document of the files, and of those in the directories; ``kind`` where one says none.

    Raises `Rejected`, naming the file.
    """
    found = [
        manifest
        for path in paths
        for file in _files(path)
        for manifest in _of_file(file, find, kind)
    ]
    if not found:
        raise Rejected(f"{', '.join(map(str, paths))}: there is no document")
    return found


def located(error: Rejected, manifests: Sequence[Manifest]) -> Rejected:
    """The server's error with files instead of numbers."""
    text = _INDEX.sub(lambda found: f"{manifests[int(found[1])].where}: ", str(error))
    error.args = (text,)
    return error


def write(directory: Path, bodies: Sequence[DocumentBody]) -> None:
    """One file for each document. Raises `Rejected`."""
    for body in bodies:
        path = directory / path_of(body)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text_of(body), encoding="utf-8")
        except OSError as error:
            raise Rejected(f"{path} cannot be written: {error.strerror}") from error


def text_of(body: DocumentBody) -> str:
    """As a file; without its version, so that any installation takes it."""
    content = body.model_dump(mode="json", exclude={"version"}, exclude_defaults=True)
    given = {name: value for name, value in content.items() if name != "document"}
    return documents.to_yaml({**given, "document": body.document}, sort_keys=False)


def path_of(body: DocumentBody) -> Path:
    """Where it lies in an export: ``project-domain/shop/staging/task_resource.yaml``."""
    if body.kind in _NOUNS:
        return Path(f"{body.kind}s", f"{body.name.replace('/', '%2F')}.yaml")
    parts = filter(None, (body.project, body.domain, body.workflow, body.launch_plan))
    return Path(_scope(body).level.label, *parts, f"{body.kind}.yaml")


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix in _SUFFIXES and file.is_file() and not hidden:
            yield file


def _of_file(file: Path, find: Find, kind: str) -> Iterator[Manifest]:
    text = sys.stdin.read() if file == STDIN else documents.text_of(file)
    name = "standard input" if file == STDIN else str(file)
    contents = documents.parsed_yaml(name, text)
    for number, content in enumerate(contents, 1):
        where = f"{name}, document {number}" if len(contents) > 1 else name
        if content is not None:
            yield Manifest(where, _body(where, content, find, kind))


def _body(where: str, content: object, find: Find, kind: str) -> DocumentBody:
    if not isinstance(content, dict):
        raise Invalid(where, content, "a mapping: kind, its place, and its fields")
    said = content.get("kind", kind)
    if not said or not isinstance(said, str):
        raise Invalid(
            f"{where}: kind", said or None, "a kind or its noun; --kind says it for such files"
        )
    rest = {str(name): value for name, value in content.items() if name != "kind"}
    name = said if said in _NOUNS else find(said).name
    try:
        if "document" in rest:
            return parse_model(DocumentBody, {**rest, "kind": name, **places_in(where, rest)})
        if said in _NOUNS:
            return _noun(said, rest)
    except Invalid as error:
        raise Invalid(f"{where}: {error.path}", error.value, error.allowed) from error
    return _flat(where, find(said), rest)


def _noun(noun: str, fields: Mapping[str, Any]) -> DocumentBody:
    content = {name: value for name, value in fields.items() if name != "name"}
    return parse_model(
        DocumentBody, {"kind": noun, "name": fields.get("name", ""), "document": content}
    )


def _flat(where: str, kind: Kind, content: Mapping[str, Any]) -> DocumentBody:
    places = places_in(where, content)
    if not places:
        raise Invalid(
            where,
            None,
            "a project or domain; or, for the whole platform, `document:` around the fields",
        )
    fields = {name: value for name, value in content.items() if name not in PLACES}
    file = AttributeFile(Path(where), places, fields)
    body = parse_model(DocumentBody, {"kind": kind.name, **places, "document": {}})
    return body.model_copy(update={"document": file.document(kind, _scope(body))})


def _scope(body: DocumentBody) -> Scope:
    return Scope(body.domain, body.project, body.workflow, body.launch_plan)
