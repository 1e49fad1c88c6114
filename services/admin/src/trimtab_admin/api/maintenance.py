"""Operations on the installation: status, dead letters and resync; and health."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trimtab.api.doctor import ClusterresBody
from trimtab.api.maintenance import DeadLetterBody, DoorBody, ReplayedBody, ResyncBody, StatusBody
from trimtab.api.settings import Part
from trimtab.release import VERSION
from trimtab_admin.access.authorization import Role, any_caller, platform_viewer
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation
from trimtab_admin.api.parameters import DryRunQuery, PageQuery, ReasonHeader
from trimtab_admin.maintenance.clusterres import ClusterresState
from trimtab_admin.maintenance.dead_letters import DeadLetters
from trimtab_admin.maintenance.readiness import Readiness
from trimtab_admin.maintenance.resync import Resync
from trimtab_admin.paging import Page

SequenceNumber = Annotated[int, Field(ge=1, lt=2**63)]


class DeadLettersQuery(PageQuery):
    """A filter of dead letters; an empty part matches all."""

    stream: Part = ""
    consumer: Part = ""
    limit: int = Field(default=100, ge=1, le=1000)


@dataclass(frozen=True)
class MaintenanceOperations:
    """The operations, with what they read and start."""

    readiness: Readiness
    clusterres: ClusterresState
    dead_letters: DeadLetters
    resyncing: Resync
    doors: Callable[[], Sequence[DoorBody]]

    def table(self) -> Sequence[Operation]:
        status = partial(Operation, tag="status")
        operations = partial(Operation, tag="operations")
        dead_letter = "/dead/{sequence}"
        return (
            status("GET", "/status", self.get_status, any_caller),
            status("GET", "/clusterres", self.get_clusterres, platform_viewer),
            operations("GET", "/dead", self.list_dead_letters),
            operations("GET", dead_letter, self.get_dead_letter),
            operations("POST", f"{dead_letter}/replay", self.replay_dead_letter),
            operations("POST", "/resync", self.resync),
        )

    async def get_status(self, call: Call) -> StatusBody:
        found = await self.readiness.status()
        status = found.model_copy(update={"doors": tuple(self.doors())})
        if call.caller.may(Role.VIEWER):
            return status
        return status.model_copy(update={"nats": "", "database": ""})

    async def get_clusterres(self, call: Call) -> ClusterresBody:
        return await self.clusterres.get()

    async def list_dead_letters(self, call: Call, query: DeadLettersQuery) -> Page[DeadLetterBody]:
        return await self.dead_letters.list(query.stream, query.consumer, query.token, query.limit)

    async def get_dead_letter(self, call: Call, sequence: SequenceNumber) -> DeadLetterBody:
        return await self.dead_letters.get(sequence)

    async def replay_dead_letter(
        self, call: Call, sequence: SequenceNumber, query: DryRunQuery
    ) -> ReplayedBody:
        return await self.dead_letters.replay(sequence, dry_run=query.dry_run)

    async def resync(self, call: Call, query: DryRunQuery, headers: ReasonHeader) -> ResyncBody:
        if query.dry_run:
            return await self.resyncing.dry_run()
        return await self.resyncing.run(headers.author(call))


def health_routes(readiness: Readiness) -> list[Route]:
    """Return ``/healthz``: the process responds, and ``/readyz``: it can do its work."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        if reasons := await readiness.reasons():
            body = {"status": "not ready", "reasons": reasons, "version": VERSION}
            return JSONResponse(body, status_code=503)
        return JSONResponse({"status": "ready", "version": VERSION})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
