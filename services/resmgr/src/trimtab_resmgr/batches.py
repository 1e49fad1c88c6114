"""Batches of requests of which some may be invalid. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from trimtab.models import Model
from trimtab.tokens.protocol import (
    Allocate,
    Allocated,
    Batch,
    Batched,
    Release,
    Released,
    Renew,
    Renewed,
)
from trimtab_resmgr import problems

R = TypeVar("R", bound=Model)

_ITEMS: Mapping[str, type[Model]] = {"allocate": Allocate, "renew": Renew, "release": Release}


@dataclass(frozen=True)
class ParsedBatch:
    """The valid requests of a batch, and the reasons why others are not, by their positions."""

    valid: Batch
    refused: Mapping[str, Mapping[int, str]] = field(default_factory=dict)


def parse(body: bytes) -> ParsedBatch:
    """Parse a batch. Raises ``ValidationError`` where it is none at all."""
    try:
        return ParsedBatch(Batch.model_validate_json(body))
    except ValidationError as error:
        if not all(_is_of_an_item(each["loc"]) for each in error.errors(include_input=False)):
            raise
    valid: dict[str, list[Model]] = {}
    refused: dict[str, dict[int, str]] = {}
    for name, items in json.loads(body).items():
        for at, item in enumerate(items):
            try:
                parsed = _ITEMS[name].model_validate_json(json.dumps(item))
            except ValidationError as error:
                refused.setdefault(name, {})[at] = problems.problem_of(error).detail
            else:
                valid.setdefault(name, []).append(parsed)
    return ParsedBatch(
        Batch.model_validate({name: tuple(items) for name, items in valid.items()}), refused
    )


def merge(replies: Batched, refused: Mapping[str, Mapping[int, str]]) -> Batched:
    """Return the replies to a whole batch, of which ``replies`` are those to valid requests."""
    if not refused:
        return replies
    return Batched(
        allocate=_merge(
            replies.allocate,
            refused.get("allocate", {}),
            lambda reason: Allocated(status="error", reason=reason),
        ),
        renew=_merge(
            replies.renew,
            refused.get("renew", {}),
            lambda reason: Renewed(status="error", reason=reason),
        ),
        release=_merge(
            replies.release,
            refused.get("release", {}),
            lambda reason: Released(released=False, reason=reason),
        ),
    )


def _merge(valid: Sequence[R], refused: Mapping[int, str], reply: Any) -> tuple[R, ...]:
    rest = iter(valid)
    number = len(valid) + len(refused)
    return tuple(reply(refused[at]) if at in refused else next(rest) for at in range(number))


def _is_of_an_item(path: Sequence[int | str]) -> bool:
    return len(path) > 1 and path[0] in _ITEMS and isinstance(path[1], int)
