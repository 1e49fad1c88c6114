"""``trimtab edit KIND``: a record as YAML in an editor, until it is stored or given up."""

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import click

from trimtab.api.settings import ChangesBody
from trimtab.cli import buffer, changes, known
from trimtab.cli.buffer import Page
from trimtab.cli.differences import unified
from trimtab.cli.failures import Failure, example
from trimtab.cli.known import kind_argument
from trimtab.cli.places import place_options, said, scope_of
from trimtab.cli.questions import asked
from trimtab.cli.rendering import progress, reason_option
from trimtab.cli.target import Target, connected
from trimtab.client import Client
from trimtab.errors import Conflict, Rejected, Stale, TrimtabError, Unauthorized
from trimtab.kinds import Kind
from trimtab.levels import Scope


@click.command(
    "edit",
    epilog=example("trimtab edit task-resource-attribute -p shop -d development"),
)
@kind_argument()
@place_options
@reason_option
@connected
def edit(target: Target, kind: str, reason: str, **places: Any) -> None:
    """Change what is stored of a KIND in an editor, with what is inherited as comments.

    The editor is that of VISUAL or EDITOR. Text that is no good is opened again with the reason on
    top; it is given up by leaving the editor without saving. Where somebody else changed the
    record meanwhile, both changes are merged, and shown again. Text that is not stored is kept in
    a file.
    """
    found = known.find(target, kind)
    scope = scope_of(**said(places), nothing="project and domain are required parameters")
    Editing(target, found, scope, reason).run()


class Editing:
    """One record, from the first look at it to the end."""

    def __init__(self, target: Target, kind: Kind, scope: Scope, reason: str) -> None:
        self._target = target
        self._kind = kind
        self._scope = scope
        self._reason = reason
        self._stored = target.call(self._read)
        """What the text is a change of."""
        self._text = self._stored.text()

    def run(self) -> None:
        """Raises `Failure` where it is given up, and `TrimtabError` where nobody answers."""
        problem: TrimtabError | None = None
        while True:
            shown = buffer.with_error(self._text, str(problem)) if problem else self._text
            edited = click.edit(shown, extension=".yaml")
            if edited is None or (problem is not None and edited == shown):
                return self._leave(problem)
            self._text = buffer.without_error(edited)
            try:
                if self._settled(buffer.parse(self._kind, self._scope, self._text)):
                    return None
                problem = None
            except Unauthorized as error:
                raise self._kept(error) from error
            except Rejected as error:
                problem = error
            except TrimtabError as error:
                raise self._kept(error) from error

    def _settled(self, document: dict[str, Any]) -> bool:
        """Whether it is stored, or is what was stored; else the text is wanted again.

        Raises `Rejected` where it may not be.
        """
        while True:
            try:
                return self._offered(document)
            except Stale:
                document = self._merged(document)

    def _offered(self, document: Mapping[str, Any]) -> bool:
        """Show it and ask, before it is stored. Raises as `_settled`, and `Stale`."""
        difference = unified(self._kind, self._before, document or None)
        if not difference:
            click.echo("No changes detected. Skipping the update.")
            return True
        preview = self._target.call(lambda client: self._preview(client, document))
        click.echo(f"The following changes are to be applied.\n{difference}\n")
        for line in changes.radius(preview):
            click.echo(line)
        match asked("Continue? [y/n, e to edit again]: ", "yne"):
            case "n":
                raise self._kept(Failure("edit aborted by user"))
            case "e":
                return False
        self._target.call(lambda client: self._write(client, document))
        click.echo(f"Stored {self._kind.name} of {self._scope}")
        return True

    @property
    def _before(self) -> Mapping[str, Any] | None:
        return None if self._stored.version is None else self._stored.document

    def _merged(self, document: dict[str, Any]) -> dict[str, Any]:
        """With what somebody else stored meanwhile. Raises `Conflict` where both do not go."""
        base, self._stored = self._stored, self._target.call(self._read)
        both = buffer.merge(self._kind, base.document, document, self._stored.document)
        page = Page(
            self._kind, self._scope, self._stored.version, both.document, self._stored.above
        )
        self._text = page.text()
        if both.conflicts:
            theirs = self._kind.schema.flatten(self._stored.document)
            raise Conflict(
                "somebody else changed the same meanwhile, to: "
                + "; ".join(f"{path}: {theirs.get(path)}" for path in both.conflicts)
                + "\nyours stands below; save what is right"
            )
        progress("it was changed by somebody else meanwhile; both changes are merged")
        return buffer.parse(self._kind, self._scope, self._text)

    async def _read(self, client: Client) -> Page:
        record = await client.records.get(self._kind.name, self._scope)
        effective = await client.records.effective(self._kind.name, self._scope)
        above = buffer.above(effective, self._scope)
        version, document = (record.version, record.document) if record else (None, {})
        return Page(self._kind, self._scope, version, document, above)

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

    def _leave(self, problem: TrimtabError | None) -> None:
        """The editor was left without saving."""
        if problem is not None:
            raise self._kept(problem)
        click.echo("Edit cancelled, nothing was changed.")

    def _kept(self, error: TrimtabError | Failure) -> Failure:
        """The error, when the text is in a file."""
        handle, name = tempfile.mkstemp(prefix="trimtab-edit-", suffix=".yaml")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(self._text)
        progress(f"your text is kept in {name}")
        return error if isinstance(error, Failure) else Failure.of(error)
