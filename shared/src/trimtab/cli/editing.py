"""``trimtab edit KIND``: edit a record as YAML until it is stored or the edit is cancelled."""

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import click

from trimtab.api.settings import ChangesBody
from trimtab.cli import changes, edit_text
from trimtab.cli.commands import Failure, dry_run_option, example, reason_option
from trimtab.cli.diffs import unified_diff
from trimtab.cli.edit_text import EditableRecord
from trimtab.cli.kinds import find_kind, kind_argument
from trimtab.cli.scopes import scope_options, selected_scope
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import progress, prompt, show, warn
from trimtab.client import Client
from trimtab.errors import Conflict, Rejected, Stale, TrimtabError, Unauthorized
from trimtab.kinds import Kind
from trimtab.levels import Scope


@click.command(
    "edit",
    epilog=example("trimtab edit task-resource-attribute -p shop -d development"),
)
@kind_argument()
@scope_options
@reason_option
@dry_run_option
@with_server
def edit(server: Server, kind: str, reason: str, dry_run: bool, **options: Any) -> None:
    """Edit the record of a KIND in an editor, with inherited values as comments.

    The editor is that of VISUAL or EDITOR. A text with an error is opened again with the error at
    the top; leave the editor without saving to cancel. If the record was changed meanwhile, both
    changes are merged and shown again. A text that is not stored is saved in a file.
    """
    found = find_kind(server, kind)
    EditSession(server, found, selected_scope(options), reason, dry_run).run()


class EditSession:
    """Edits one record: opens the editor, shows the changes, and stores them."""

    def __init__(
        self, server: Server, kind: Kind, scope: Scope, reason: str, dry_run: bool = False
    ) -> None:
        self._server = server
        self._kind = kind
        self._scope = scope
        self._reason = reason
        self._dry_run = dry_run
        self._stored = server.call(self._read)
        """The stored record that the text is based on."""
        self._text = self._stored.to_text()

    def run(self) -> None:
        """Edit until the record is stored, and save the text where anything else ends the session.

        Raises `Failure` where the edit is cancelled with changes, and for errors of the server that
        another text cannot resolve.
        """
        unedited = self._text
        try:
            self._edit()
        except BaseException:
            if self._text != unedited:
                self._save_text()
            raise

    def _edit(self) -> None:
        problem: TrimtabError | None = None
        while True:
            shown = edit_text.prepend_error(self._text, str(problem)) if problem else self._text
            edited = _in_editor(shown)
            if edited is None or (problem is not None and edited == shown):
                return self._cancel(problem)
            self._text = edit_text.strip_error(edited)
            try:
                if self._finish(edit_text.parse(self._kind, self._scope, self._text)):
                    return None
                problem = None
            except Unauthorized:
                raise
            except Rejected as error:
                problem = error

    def _finish(self, document: dict[str, Any]) -> bool:
        """Store the document, merging with later changes; return whether the session is finished.

        Raises `Rejected` where the document cannot be stored.
        """
        while True:
            try:
                return self._confirm_and_store(document)
            except Stale:
                document = self._merge(document)

    def _confirm_and_store(self, document: Mapping[str, Any]) -> bool:
        """Show the changes, prompt, and store; return False for another visit of the editor.

        Raises as `_finish`, and `Stale` where the record was changed meanwhile.
        """
        difference = unified_diff(self._kind, self._before, document or None)
        if not difference:
            show("No changes detected. Skipping the update.")
            return True
        preview = self._server.call(lambda client: self._preview(client, document))
        show(f"The following changes are to be applied.\n{difference}\n")
        for line in changes.blast_radius_lines(preview):
            show(line)
        for text in changes.warning_texts(preview):
            warn(text)
        if self._dry_run:
            show("Skipping update request (dryRun)")
            return True
        match prompt("Continue? [y/n, e to edit again]: ", "yne"):
            case "n":
                raise Failure("edit aborted by user")
            case "e":
                return False
        self._server.call(lambda client: self._write(client, document))
        show(f"Stored {self._kind.name} of {self._scope}")
        return True

    @property
    def _before(self) -> Mapping[str, Any] | None:
        return None if self._stored.version is None else self._stored.document

    def _merge(self, document: dict[str, Any]) -> dict[str, Any]:
        """Merge with the record that is stored now. Raises `Conflict` for contradictions."""
        base, self._stored = self._stored, self._server.call(self._read)
        merged = edit_text.merge(self._kind, base.document, document, self._stored.document)
        record = EditableRecord(
            self._kind, self._scope, self._stored.version, merged.document, self._stored.inherited
        )
        self._text = record.to_text()
        if merged.conflicts:
            theirs = self._kind.schema.flatten(self._stored.document)
            raise Conflict(
                "the same fields were changed meanwhile, to: "
                + "; ".join(f"{path}: {theirs.get(path)}" for path in merged.conflicts)
                + "\nyour values are below; correct them and save"
            )
        progress("the record was changed meanwhile; both changes are merged")
        return edit_text.parse(self._kind, self._scope, self._text)

    async def _read(self, client: Client) -> EditableRecord:
        record = await client.records.get(self._kind.name, self._scope)
        effective = await client.records.effective(self._kind.name, self._scope)
        inherited = edit_text.inherited_values(effective, self._scope)
        version, document = (record.version, record.document) if record else (None, {})
        return EditableRecord(self._kind, self._scope, version, document, inherited)

    async def _preview(self, client: Client, document: Mapping[str, Any]) -> ChangesBody:
        version, kind, scope = self._stored.version, self._kind.name, self._scope
        if document:
            return await client.records.dry_put(kind, scope, document, version=version)
        return await client.records.dry_delete(kind, scope, version=version)

    async def _write(self, client: Client, document: Mapping[str, Any]) -> None:
        version, reason = self._stored.version, self._reason
        kind, scope = self._kind.name, self._scope
        if document:
            await client.records.put(kind, scope, document, version=version, reason=reason)
        else:
            await client.records.delete(kind, scope, version=version, reason=reason)

    def _cancel(self, problem: TrimtabError | None) -> None:
        """End the session after the editor was left without saving."""
        if problem is not None:
            raise problem
        show("Edit cancelled, nothing was changed.")

    def _save_text(self) -> None:
        handle, name = tempfile.mkstemp(prefix="trimtab-edit-", suffix=".yaml")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(self._text)
        progress(f"your text is saved in {name}")


def _in_editor(text: str) -> str | None:
    """Return the edited text; ``None`` where it was not saved. Raises `Rejected`."""
    try:
        return click.edit(text, extension=".yaml")
    except UnicodeDecodeError as error:
        raise Rejected("what the editor saved is not UTF-8") from error
