"""What keeps the system whole: dead letters, and saying everything again."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from trimtab.api.operations import DeadLetterBody, ReplayedBody, ResyncBody
from trimtab.api.scopes import Part
from trimtab_admin.api.inputs import By, Paged, next_page
from trimtab_admin.api.strict import Routes
from trimtab_admin.operations.dead_letters import DeadLetters
from trimtab_admin.operations.resync import Resync

Sequenced = Annotated[int, Path(ge=1, lt=2**63)]


class DeadQuery(Paged):
    """Which dead letters are listed; an empty name does not matter."""

    stream: Part = ""
    consumer: Part = ""
    limit: int = Field(default=100, ge=1, le=1000)


def router(dead: DeadLetters, resyncing: Resync) -> APIRouter:
    routes = Routes(tags=["operations"])

    @routes.get("/dead")
    async def list_dead_letters(
        query: Annotated[DeadQuery, Query()], request: Request, response: Response
    ) -> Sequence[DeadLetterBody]:
        page = await dead.list(query.stream, query.consumer, query.token, query.limit)
        next_page(request, response, page.cursor)
        return page.items

    @routes.get("/dead/{sequence}")
    async def get_dead_letter(sequence: Sequenced) -> DeadLetterBody:
        return await dead.get(sequence)

    @routes.post("/dead/{sequence}/replay")
    async def replay_dead_letter(sequence: Sequenced) -> ReplayedBody:
        return await dead.replay(sequence)

    @routes.post("/resync")
    async def resync(author: By) -> ResyncBody:
        return await resyncing.run(author)

    return routes
