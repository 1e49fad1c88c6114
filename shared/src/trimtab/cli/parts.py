"""Documents that are too many for one transaction, in parts of which each is one. Pure.

After each part, every effective value on a new installation is one that the whole gives to the same
or to a broader target. What is valid together is therefore valid in parts too.
"""

from collections.abc import Iterator, Sequence

from trimtab.api.settings import MAX_DOCUMENTS, DocumentBody

PART_DOCUMENTS = 5_000
"""So many documents are judged and stored within seconds, and other writers wait no longer."""
MAX_BYTES = 16 * 1024 * 1024
"""The largest request that admin accepts, unless it is configured otherwise."""
PART_BYTES = MAX_BYTES // 2

Group = tuple[int, str, str, str]
"""The key of documents that stay in one part; groups are stored in the order of their keys."""

_ENTITIES = {"domain": 0, "cluster": 1, "pool": 2, "queue": 3, "project": 4}
_PLATFORM, _DOMAIN, _PROJECT, _WORKFLOW = range(5, 9)


def are_needed(documents: Sequence[DocumentBody]) -> bool:
    """Return whether the documents are too many or too long for one transaction."""
    return len(documents) > MAX_DOCUMENTS or sum(map(_size, documents)) > MAX_BYTES


def split(documents: Sequence[DocumentBody]) -> list[list[int]]:
    """Return the indexes of the documents of each part, in the order of the parts.

    A domain or project comes before what is in it, and a broad record before narrower ones.
    """
    parts: list[list[int]] = [[]]
    part_size = 0
    for group in _groups(documents):
        size = sum(_size(documents[index]) for index in group)
        is_full = len(parts[-1]) + len(group) > PART_DOCUMENTS or part_size + size > PART_BYTES
        if parts[-1] and is_full:
            parts.append([])
            part_size = 0
        parts[-1] += group
        part_size += size
    return parts


def _groups(documents: Sequence[DocumentBody]) -> Iterator[list[int]]:
    archived = {
        body.name
        for body in documents
        if body.kind == "project" and body.document.get("state") == "archived"
    }
    groups: dict[Group, list[int]] = {}
    for index, body in enumerate(documents):
        groups.setdefault(_group(body, archived), []).append(index)
    for _, group in sorted(groups.items()):
        yield group


def _group(body: DocumentBody, archived: set[str]) -> Group:
    if body.kind in _ENTITIES:
        # An archived project is created together with what is in it: nothing can be added later.
        if body.kind == "project" and body.name in archived:
            return _PROJECT, body.name, "", ""
        return _ENTITIES[body.kind], body.name, "", ""
    if not body.project:
        return (
            (_DOMAIN, body.domain, body.kind, "") if body.domain else (_PLATFORM, body.kind, "", "")
        )
    if not body.workflow or body.project in archived:
        # A record of the project may be valid only with those of its project-domains.
        return _PROJECT, body.project, "", ""
    return _WORKFLOW, body.project, body.domain, body.workflow


def _size(body: DocumentBody) -> int:
    return len(body.model_dump_json().encode())
