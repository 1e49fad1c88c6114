"""The settings service of Flyte 2: one message of settings spans the records of several kinds.

Its ``version`` is the newest revision of all these records at the scope, that of a deletion
included, and 0 while none is stored. So it changes with each of them, also by a native write.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flyteidl2.settings import settings_service_pb2 as messages
from flyteidl2.settings.settings_definition_pb2 import Settings as SettingsMessage
from flyteidl2.settings.settings_definition_pb2 import SettingsKey
from google.rpc import code_pb2

from trimtab.errors import Conflict, Invalid, Rejected
from trimtab.flyte import settings as flyte2
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.access.call import Call
from trimtab_admin.flyte.rpc import Rpc, RpcError, Service
from trimtab_admin.settings.drafts import readable_record
from trimtab_admin.settings.entities import check_scope
from trimtab_admin.settings.history import History
from trimtab_admin.settings.preconditions import AnyVersion
from trimtab_admin.settings.requests import DeleteRecord, DerivedWrites, PutRecord
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.tree import Tree

_DESCRIPTOR = messages.DESCRIPTOR.services_by_name["SettingsService"]
_NAMES = tuple(kind.name for kind in flyte2.KINDS)

Derive = Callable[[Settings], Sequence[PutRecord | DeleteRecord]]


@dataclass(frozen=True)
class _Stored:
    """Which records of the kinds are stored at a scope."""

    revisions: Mapping[str, int]
    """By the subjects of the records that are stored."""
    newest: int
    """The revision of the newest change of any of them, as far as it was known."""

    @property
    def version(self) -> int:
        return max(self.newest, *self.revisions.values()) if self.revisions else 0


class SettingsRpcs:
    """The methods of the service."""

    def __init__(self, writer: Writer, history: History, tree: Tree, reading: Sessions) -> None:
        self._writer = writer
        self._history = history
        self._tree = tree
        self._reading = reading

    def service(self) -> Service:
        return Service(
            _DESCRIPTOR,
            [
                Rpc("GetSettings", self.get, _may_read),
                Rpc("GetSettingsForEdit", self.get_for_edit, _may_read),
                Rpc("CreateSettings", self.create, _may_write),
                Rpc("UpdateSettings", self.update, _may_write),
            ],
        )

    async def get(
        self, _call: Call, request: messages.GetSettingsRequest
    ) -> messages.GetSettingsResponse:
        """Return the effective values; they have no version, so that no client stores them."""
        scope = _scope_to_read(request)
        settings = await self._tree.shown(self._reading)
        check_scope(settings, scope)
        found = flyte2.resolved({name: settings.effective(name, scope) for name in _NAMES})
        record = messages.SettingsRecord(key=request.key, settings=found)
        return messages.GetSettingsResponse(settingsRecord=record)

    async def get_for_edit(
        self, _call: Call, request: messages.GetSettingsForEditRequest
    ) -> messages.GetSettingsForEditResponse:
        """Return what is stored at each scope that the key covers, broadest first."""
        scope, keys = _scope_to_read(request), flyte2.keys_to(request.key)
        # Read before the records: a version that is too old is refused later, and a version that
        # is newer than the records would let a client undo what it has not seen.
        newest = [await self._newest(flyte2.scope_of(key)) for key in keys]
        settings = await self._tree.latest(self._reading)
        check_scope(settings, scope)
        levels = [
            messages.SettingsRecord(
                key=key,
                settings=flyte2.to_message(_documents(settings, flyte2.scope_of(key))),
                version=_Stored(_revisions(settings, flyte2.scope_of(key)), revision).version,
            )
            for key, revision in zip(keys, newest, strict=True)
        ]
        return messages.GetSettingsForEditResponse(requestedKey=request.key, levels=levels)

    async def create(
        self, call: Call, request: messages.CreateSettingsRequest
    ) -> messages.CreateSettingsResponse:
        scope = _scope_to_write(request)

        def derive(settings: Settings) -> Sequence[PutRecord | DeleteRecord]:
            if _revisions(settings, scope):
                raise RpcError(
                    code_pb2.ALREADY_EXISTS,
                    f"{scope} has settings already: use UpdateSettings, with their version",
                )
            return _writes(settings, request.settings, scope)

        version = await self._write(derive, call, 0, "CreateSettings")
        return messages.CreateSettingsResponse(settingsRecord=_echo(request, version))

    async def update(
        self, call: Call, request: messages.UpdateSettingsRequest
    ) -> messages.UpdateSettingsResponse:
        scope = _scope_to_write(request)
        if not request.version:
            raise RpcError(
                code_pb2.INVALID_ARGUMENT,
                "version 0 is that of a scope without settings: use CreateSettings",
            )
        revisions = _revisions(await self._tree.latest(self._reading), scope)
        # Read after the records: a record that was stored then and is deleted now shows in
        # `derive`, and one that was deleted before shows here.
        stored = _Stored(revisions, await self._newest(scope))

        def derive(settings: Settings) -> Sequence[PutRecord | DeleteRecord]:
            now = _Stored(_revisions(settings, scope), stored.newest)
            if not now.revisions:
                raise RpcError(
                    code_pb2.NOT_FOUND, f"{scope} has no settings: use CreateSettings first"
                )
            if now.revisions != stored.revisions or now.version != request.version:
                raise RpcError(
                    code_pb2.FAILED_PRECONDITION,
                    f"version conflict: the settings of {scope} have been modified since version "
                    f"{request.version}; read them again and repeat the change",
                )
            return _writes(settings, request.settings, scope)

        version = await self._write(derive, call, stored.version, "UpdateSettings")
        return messages.UpdateSettingsResponse(settingsRecord=_echo(request, version))

    async def _newest(self, scope: Scope) -> int:
        return await self._history.newest(_subjects(scope))

    async def _write(self, derive: Derive, call: Call, version: int, method: str) -> int:
        """Store what is derived, and return the version after it."""
        author = Author(call.caller, f"{method} of Flyte 2", call.request_id)
        try:
            result = await self._writer.write(DerivedWrites(derive), author)
        except Invalid as error:
            path = flyte2.flyte_path(error.path)
            raise Invalid(path, error.value, error.allowed) from error
        except Conflict as error:
            # Of an archived project. Its code is for settings that exist already.
            raise Rejected(str(error)) from error
        if all(edit.after is None for edit in result.draft.records.values()):
            return 0
        return max([version, *result.revisions.values()])


def _may_read(caller: Caller, request: Any) -> None:
    scope = flyte2.scope_of(request.key)
    for name in _NAMES:
        caller.check(Role.VIEWER, scope, name)


def _may_write(caller: Caller, request: Any) -> None:
    """Require the right to write one of the kinds; that for each change is checked with it."""
    _may_read(caller, request)
    scope = flyte2.scope_of(request.key)
    if not any(caller.may(Role.EDITOR, scope, name) for name in _NAMES):
        caller.check(Role.EDITOR, scope)


def _scope_to_read(request: Any) -> Scope:
    if not request.HasField("key"):
        raise RpcError(code_pb2.INVALID_ARGUMENT, "key is required")
    return _scope(request.key)


def _scope_to_write(request: Any) -> Scope:
    if not (request.HasField("key") and request.HasField("settings")):
        raise RpcError(code_pb2.INVALID_ARGUMENT, "key and settings are required")
    return _scope(request.key)


def _scope(key: SettingsKey) -> Scope:
    if key.project and not key.domain:
        raise RpcError(code_pb2.INVALID_ARGUMENT, "a project-scope key requires a domain")
    return flyte2.scope_of(key)


def _subjects(scope: Scope) -> Iterable[str]:
    return [subjects.attributes(name, scope) for name in _NAMES]


def _revisions(settings: Settings, scope: Scope) -> dict[str, int]:
    """Return the revisions of the records that are stored at a scope, by subject."""
    found = {subject: settings.digest.revision_of(subject) for subject in _subjects(scope)}
    return {subject: revision for subject, revision in found.items() if revision is not None}


def _documents(settings: Settings, scope: Scope) -> dict[str, Mapping[str, Any]]:
    """Return the documents that are stored at a scope, by kind. Raises `Unreadable`."""
    records = {kind.name: readable_record(settings, kind, scope) for kind in flyte2.KINDS}
    return {name: record.document for name, record in records.items() if record is not None}


def _writes(
    settings: Settings, message: SettingsMessage, scope: Scope
) -> Sequence[PutRecord | DeleteRecord]:
    """Return the writes after which the records at a scope have the settings of a message."""
    after = flyte2.documents(message, _documents(settings, scope), scope)
    return [
        PutRecord(kind, scope, after[kind.name], AnyVersion())
        if kind.name in after
        else DeleteRecord(kind, scope, AnyVersion())
        for kind in flyte2.KINDS
    ]


def _echo(request: Any, version: int) -> messages.SettingsRecord:
    return messages.SettingsRecord(key=request.key, settings=request.settings, version=version)
