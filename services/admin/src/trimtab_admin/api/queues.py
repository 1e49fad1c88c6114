"""Operations on queues, which executions go to by their tags."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from trimtab.api.entities import QueueBody
from trimtab.api.settings import ChangesBody
from trimtab.errors import Invalid
from trimtab_admin.access.authorization import any_caller, platform_admin
from trimtab_admin.access.call import Call
from trimtab_admin.api.operation import Operation, Reply
from trimtab_admin.api.parameters import WriteHeaders, WriteQuery
from trimtab_admin.settings.entities import QUEUES
from trimtab_admin.settings.reading import Reader
from trimtab_admin.settings.requests import DeleteEntity, PutEntity
from trimtab_admin.settings.writing import Writer


@dataclass(frozen=True)
class QueueOperations:
    """The operations, with what reads and writes queues."""

    reader: Reader
    writer: Writer

    def table(self) -> Sequence[Operation]:
        queues = partial(Operation, tag="queues")
        changes = partial(queues, requires=platform_admin, may_warn=True)
        dry_run = (200, "What a dry run would change")
        return (
            queues("GET", "/queues", self.list_queues, any_caller),
            queues("GET", "/queues/{name}", self.get_queue, any_caller),
            changes("PUT", "/queues/{name}", self.put_queue),
            changes(
                "DELETE", "/queues/{name}", self.delete_queue, status=204, other_status=dry_run
            ),
        )

    async def list_queues(self, call: Call) -> Sequence[QueueBody]:
        return await self.reader.entities(QUEUES)

    async def get_queue(self, call: Call, name: str) -> QueueBody:
        return await self.reader.entity(QUEUES, name)

    async def put_queue(
        self, call: Call, name: str, query: WriteQuery, headers: WriteHeaders, body: QueueBody
    ) -> Reply[QueueBody | ChangesBody]:
        """Declare a queue. A warning names the records that no queue fits any more."""
        if name != body.name:
            raise Invalid("name", body.name, f"{name}, as in the path")
        request = PutEntity(QUEUES, body, headers.required_precondition(force=query.force))
        if query.dry_run:
            return Reply(await self.writer.dry_run(request, call.caller), status=200)
        result = await self.writer.write(request, headers.author(call))
        return Reply(result.entity(QUEUES), warnings=result.warnings)

    async def delete_queue(
        self, call: Call, name: str, query: WriteQuery, headers: WriteHeaders
    ) -> Reply[ChangesBody | None]:
        """Let no more executions go to a queue. A warning names the records that no queue fits."""
        request = DeleteEntity(QUEUES, name, headers.required_precondition(force=query.force))
        if query.dry_run:
            return Reply(await self.writer.dry_run(request, call.caller), status=200)
        result = await self.writer.write(request, headers.author(call))
        return Reply(None, warnings=result.warnings)
