"""Keep the rows of a running Flyte 1 in step with Trimtab. It has no state of its own.

Each comparison reads the rows that Flyte has. A process that was killed at any time is replaced by
its next start, and two that run at once write the same rows.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from trimtab import kinds
from trimtab.api.settings import DocumentBody, HistoryBody
from trimtab.client import Client
from trimtab.errors import Gone, Rejected, Retryable, TrimtabError, Unavailable
from trimtab.flyte.client import FlyteAdmin, Refused
from trimtab.flyte.mirroring import (
    Delete,
    Loss,
    Operation,
    Register,
    RowOperation,
    Update,
    UpdateProject,
    image,
    mirrored_kinds,
    operations,
    project_operations,
    unmirrored,
)
from trimtab.flyte.rows import Row
from trimtab.kinds import Kind
from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab.messages.events import DomainChanged, ProjectChanged, RecordChanged
from trimtab.runtime.retrying import backoff_seconds
from trimtab.settings.state import Settings

_ROUNDS = 8
"""How often rows are compared again after writes, until nothing differs."""
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 30.0
_REPEATED = frozenset({"ABORTED", "ALREADY_EXISTS"})
"""Codes of writes that raced with others; flyteadmin has the second one for first updates."""


@dataclass(frozen=True)
class Refusal:
    """An operation that Flyte refused."""

    operation: Operation
    reason: str


@dataclass(frozen=True)
class Outage:
    """An error after which everything is read again."""

    reason: str
    seconds: float
    """The delay until then."""


@dataclass(frozen=True)
class InStep:
    """Flyte has the rows of a revision, except for refused ones."""

    revision: int
    written: int
    """The number of operations since the last such report."""
    refused: int


Report = Operation | Refusal | Loss | Outage | InStep


class Mirror:
    """Compares Flyte with Trimtab, and reports each operation after it was made."""

    def __init__(
        self,
        trimtab: Client,
        flyte: FlyteAdmin,
        report: Callable[[Report], None],
        *,
        dry_run: bool = False,
        allow_empty: bool = False,
    ) -> None:
        """A dry run reports the operations of the first comparison, and makes none."""
        self._trimtab = trimtab
        self._flyte = flyte
        self._report = report
        self._dry_run = dry_run
        self._allow_empty = allow_empty
        self._losses: set[str] = set()

    async def compare_once(self) -> int:
        """Bring Flyte in step, and return the number of refused operations.

        Raises `trimtab.errors.TrimtabError`.
        """
        return await self._compare(await self._read())

    async def follow(self, interval_seconds: float) -> None:
        """Keep Flyte in step until cancelled, and compare everything after each interval.

        It repeats what fails. Raises `Rejected` where a repetition does not help.
        """
        failures = 0
        while True:
            try:
                async for _ in self._comparisons(interval_seconds):
                    failures = 0
            except Gone:
                continue
            except (Retryable, Refused) as error:
                # What is refused here is a read, such as by a Flyte whose database is down.
                failures += 1
                delay = backoff_seconds(
                    failures, first=_FIRST_DELAY_SECONDS, longest=_LONGEST_DELAY_SECONDS
                )
                self._report(Outage(str(error), delay))
                await asyncio.sleep(delay)

    async def _comparisons(self, interval_seconds: float) -> AsyncIterator[None]:
        """Compare everything, and then what changes, until the interval has passed."""
        settings = await self._read()
        now = asyncio.get_running_loop().time
        deadline = now() + interval_seconds
        async with self._changes(settings.revision) as changes:
            refused = await self._compare(settings)
            while True:
                yield
                if refused:
                    deadline = min(deadline, now() + _LONGEST_DELAY_SECONDS)
                if not (batch := await changes.next(deadline)):
                    return
                for change in batch:
                    _apply(settings, change)
                refused = await self._compare(settings, {change.kind for change in batch})

    @asynccontextmanager
    async def _changes(self, revision: int) -> AsyncIterator["_Changes"]:
        changes = _Changes()
        receiving = asyncio.create_task(changes.receive(self._trimtab, revision))
        try:
            yield changes
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})

    async def _read(self) -> Settings:
        """Read all settings, as of a revision from which changes can be followed."""
        settings = Settings()
        revision = (await self._trimtab.settings.effective(PLATFORM)).revision
        for body in await self._trimtab.records.list(level=Level.SETTINGS.label):
            settings.apply(RecordChanged.at(SETTINGS_FILE, body.kind, body.document), body.version)
        async with aclosing(self._trimtab.settings.stream_export()) as documents:
            async for document in documents:
                if (event := _event_of(document)) is not None:
                    settings.apply(event, revision)
        if not settings.domains:
            raise Rejected(
                "the server shows no domain: the mirror needs an API token that is a viewer of "
                "the whole platform"
            )
        settings.revision = revision
        return settings

    async def _compare(self, settings: Settings, names: AbstractSet[str] | None = None) -> int:
        """Compare the kinds and entities with these names, or all, until nothing differs."""
        written = 0
        refused: dict[str, Operation] = {}
        for tries in range(1, _ROUNDS + 1):
            planned = await self._plan(settings, names)
            planned = [each for each in planned if str(each) not in refused]
            if self._dry_run or not planned:
                for operation in planned:
                    self._report(operation)
                self._report(InStep(settings.revision, written, len(refused)))
                return len(refused)
            if tries > 1:
                await asyncio.sleep(backoff_seconds(tries, first=_FIRST_DELAY_SECONDS, longest=2.0))
            for operation in planned:
                try:
                    await self._perform(operation)
                except Refused as error:
                    if error.status not in _REPEATED:
                        refused[str(operation)] = operation
                        self._report(Refusal(operation, str(error)))
                else:
                    written += 1
                    self._report(operation)
        raise Unavailable("the rows of Flyte differ again after each write: another client writes")

    async def _plan(
        self, settings: Settings, names: AbstractSet[str] | None
    ) -> Sequence[Operation]:
        is_of_entities = names is None or not names.isdisjoint(("project", "domain"))
        planned: list[Operation] = []
        if is_of_entities:
            present = await self._flyte.projects()
            planned += project_operations(settings.projects.values(), present)
        known = await self._flyte.domains()
        domains = [domain for domain in sorted(settings.domains) if domain in known]
        active = [p.name for p in settings.projects.values() if p.state == "active"]
        for kind in mirrored_kinds():
            if is_of_entities or names is None or kind.name in names:
                planned += await self._plan_rows(settings, kind, active, domains)
        self._report_losses(unmirrored(settings, active, domains))
        self._report_losses(
            [
                Loss("domain", Scope(domain), "", None, "Flyte's configuration has no such domain")
                for domain in sorted(settings.domains.keys() - known)
            ]
        )
        if not self._allow_empty:
            _check_not_empty(settings, planned)
        self._allow_empty = True
        return planned

    async def _plan_rows(
        self, settings: Settings, kind: Kind, projects: Sequence[str], domains: Sequence[str]
    ) -> list[RowOperation]:
        found = image(settings, kind, projects, domains)
        self._report_losses(found.losses)
        present = {
            row.scope: row.message
            for row in await self._flyte.list_attributes(kind)
            if row.project in projects and _is_writable(row)
        }
        kept = {scope for scope in present if scope.domain and scope.domain not in domains}
        return operations(kind, found.rows, present, kept | found.unreadable.keys())

    def _report_losses(self, losses: Sequence[Loss]) -> None:
        for loss in losses:
            if (text := str(loss)) not in self._losses:
                self._losses.add(text)
                self._report(loss)

    async def _perform(self, operation: Operation) -> None:
        match operation:
            case Register():
                await self._flyte.register(operation.project)
            case UpdateProject():
                await self._flyte.update_project(operation.project)
            case Update():
                await self._flyte.update(operation.scope, operation.message)
            case Delete():
                await self._flyte.delete(operation.scope, operation.kind)


def _check_not_empty(settings: Settings, planned: Sequence[Operation]) -> None:
    """Raise `Rejected` where nothing was imported, so that all rows would be deleted."""
    rows = sum(isinstance(operation, Update | Delete) for operation in planned)
    if rows and not any(settings.records.get(kind.name) for kind in mirrored_kinds()):
        raise Rejected(
            f"Trimtab has no settings of Flyte's kinds, so {rows} rows of Flyte would be deleted: "
            "import them first, or delete them with --allow-empty"
        )


class _Changes:
    """The changes of a watch that were received and not consumed yet."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[HistoryBody | TrimtabError] = asyncio.Queue()

    async def receive(self, trimtab: Client, revision: int) -> None:
        try:
            async with aclosing(trimtab.settings.watch(since=revision)) as stream:
                async for change in stream:
                    self._queue.put_nowait(change)
        except TrimtabError as error:
            self._queue.put_nowait(error)

    async def next(self, deadline: float) -> list[HistoryBody]:
        """Wait for a change, and return all that have arrived, with the rest of a transaction.

        An empty list means that the deadline has passed. Raises the error that ended the watch.
        """
        batch: list[HistoryBody] = []
        try:
            async with asyncio.timeout_at(deadline):
                while not batch or not self._queue.empty() or batch[-1].revision < batch[-1].commit:
                    change = await self._queue.get()
                    if isinstance(change, TrimtabError):
                        raise change
                    batch.append(change)
        except TimeoutError:
            return []
        return batch


def _event_of(document: DocumentBody) -> RecordChanged | ProjectChanged | DomainChanged | None:
    match document.kind:
        case "project":
            return ProjectChanged(name=document.name, **document.document)
        case "domain":
            return DomainChanged(name=document.name)
        case kind if kind in kinds.registered():
            scope = Scope(
                document.domain, document.project, document.workflow, document.launch_plan
            )
            return RecordChanged.at(scope, kind, document.document)
    return None


def _apply(settings: Settings, change: HistoryBody) -> None:
    is_deleted = change.after is None
    fields = change.after or {}
    match change.kind:
        case "project":
            project = ProjectChanged(**{**fields, "name": change.name, "deleted": is_deleted})
            settings.apply(project, change.revision)
        case "domain":
            domain = DomainChanged(name=change.name, deleted=is_deleted)
            settings.apply(domain, change.revision)
        case kind if kind in kinds.registered() and change.scope is not None:
            parts = change.scope.model_dump(exclude={"level"})
            is_file = change.scope.level == Level.SETTINGS.label
            scope = Scope(**parts, settings_file=is_file)
            settings.apply(RecordChanged.at(scope, kind, change.after), change.revision)
    settings.revision = max(settings.revision, change.revision)


def _is_writable(row: Row) -> bool:
    """Whether the API of Flyte can write the row."""
    return not row.launch_plan and bool(row.domain or not row.workflow)
