"""The work of ``trimtab import``: read, plan, report, apply. It needs the extra ``flyte``."""

import asyncio
import shlex
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from trimtab import yaml_texts
from trimtab.api.settings import DocumentBody, ScopeBody
from trimtab.cli import attribute_files, changes, documents
from trimtab.cli.commands import Failure
from trimtab.cli.configuration import Output
from trimtab.cli.document_files import ENTITIES, FileDocument, scope_of
from trimtab.cli.escaping import in_one_line
from trimtab.cli.scopes import scope_from_body
from trimtab.cli.server import Server
from trimtab.cli.terminal import confirm, progress, show, show_data
from trimtab.client import Client
from trimtab.errors import Code, Invalid
from trimtab.flyte import configuration, flyte2
from trimtab.flyte.client import FlyteAdmin, Refused, Token, token_of_command, token_of_file
from trimtab.flyte.comparing import Difference
from trimtab.flyte.flyte2 import Flyte2
from trimtab.flyte.importing import Contents, Given, Plan, Refusal, contents_of_rows, plan
from trimtab.flyte.messages import kinds_by_number
from trimtab.flyte.rows import FlyteProject, Row
from trimtab.levels import PLATFORM

_MAX_LINES = 200
"""The most documents that are listed; of more, their numbers are shown."""
_SIGNS = {"create": "+", "update": "~"}


def import_flyte(
    server: Server,
    endpoint: str,
    insecure: bool,
    ca_file: Path | None,
    token_command: str | None,
    token_file: Path | None,
    flyte_token: str | None,
    configurations: Sequence[Path],
    keep_effective: bool,
    dry_run: bool,
    force: bool,
    reason: str,
    output: Output,
) -> None:
    """Run ``trimtab import flyte``."""
    _check_prompt(output, dry_run or force)
    token = selected_token(token_command, token_file, flyte_token)
    configured = _configured(configurations)
    flyte = FlyteAdmin(endpoint, insecure=insecure, ca_file=ca_file, token=token)
    contents = asyncio.run(_read(flyte, configured))
    _import(server, contents, keep_effective, dry_run, force, reason, output)


def import_flyte2(
    server: Server,
    endpoint: str,
    org: str,
    flyte_token: str | None,
    domains: Sequence[str],
    projects: Sequence[str],
    dry_run: bool,
    force: bool,
    reason: str,
    output: Output,
) -> None:
    """Run ``trimtab import flyte2``."""
    _check_prompt(output, dry_run or force)
    flyte = Flyte2(endpoint, org, flyte_token or "")
    contents = asyncio.run(_read2(flyte, domains, projects))
    _import(server, contents, True, dry_run, force, reason, output)


async def _read2(flyte: Flyte2, domains: Sequence[str], names: Sequence[str]) -> Contents:
    """Read the settings of a Flyte 2, of the named projects and domains or of all."""
    async with flyte:
        projects = [FlyteProject(name, has_details=False) for name in names]
        if not (domains and names):
            listed, of_projects = await flyte.projects()
            projects = [each for each in listed if each.id in names] if names else listed
            domains = domains or of_projects
        progress(f"{flyte.url}: {len(projects):,} projects, {len(domains):,} domains")
        found = {}
        for project, domain in product(projects, domains):
            for key, settings in await flyte.settings(domain, project.id):
                found[key.domain, key.project] = key, settings
        progress(f"{flyte.url}: settings of {len(found):,} scopes")
    given, refused = list[Given](), list[Refusal]()
    for key, settings in found.values():
        for each in flyte2.records(key, settings):
            if isinstance(each, Given):
                given.append(each)
            else:
                refused.append(each)
    return Contents(domains, projects, given, refused, has_flyte_rule=False)


def _import(
    server: Server,
    contents: Contents,
    keep_effective: bool,
    dry_run: bool,
    force: bool,
    reason: str,
    output: Output,
) -> None:
    """Plan and report the import of the contents, and apply it unless it is a dry run."""
    found = plan(contents, server.call(_stored), keep_effective=keep_effective)
    is_applied = bool(found.documents) and not dry_run
    if output == "table":
        for line in _report_lines(found, keep_effective):
            show(in_one_line(line))
        if is_applied and not (force or confirm("Continue? [y/n]: ")):
            raise Failure("import aborted by user")
    if is_applied:
        files = [FileDocument(_subject(body), body) for body in found.documents]
        documents.apply_in_parts(server, files, reason)
    if output != "table":
        show_data(_data(found, is_applied), output)
    elif is_applied:
        show(f"imported {len(found.documents):,} documents")


async def _stored(client: Client) -> list[DocumentBody]:
    progress("reading what Trimtab stores")
    return [body async for body in client.settings.stream_export(readable_only=True)]


async def _read(flyte: FlyteAdmin, configured: Sequence[Given]) -> Contents:
    """Read everything that a Flyte 1 has. A type that it refuses to list is reported."""
    rows, refused = list[Row](), list[Refusal]()
    async with flyte:
        domains, projects = await flyte.domains(), await flyte.projects()
        progress(f"{flyte.endpoint}: {len(projects):,} projects, {len(domains):,} domains")
        for kind in kinds_by_number().values():
            try:
                found = await flyte.list_attributes(kind)
            except Refused as error:
                everywhere = ScopeBody.of(PLATFORM)
                what = f"all {kind.name} rows"
                refused.append(
                    Refusal(what=what, reason=str(error), kind=kind.name, scope=everywhere)
                )
                continue
            progress(f"{flyte.endpoint}: {len(found):,} {kind.name} rows")
            rows += found
    contents = contents_of_rows(domains, projects, rows, configured)
    return Contents(domains, projects, contents.records, [*refused, *contents.refused])


def _check_prompt(output: Output, is_silent: bool) -> None:
    if output != "table" and not is_silent:
        text = f"-o {output} has no room for a prompt: use --force, or --dry-run to see the plan"
        raise Failure(text, Code.INVALID)


def selected_token(command: str | None, file: Path | None, text: str | None) -> Token | None:
    """Return the token that the options select. Raises `Failure` where they are two."""
    if command and file:
        raise Failure("only one of --token-command and --token-file", Code.INVALID)
    if command:
        return token_of_command(shlex.split(command))
    if file:
        return token_of_file(file)
    if not text:
        return None

    async def token() -> str:
        return text

    return token


def _configured(paths: Sequence[Path]) -> list[Given]:
    """Return the records of flyteadmin's configuration, whose files have different sections."""
    sections: dict[str, Any] = {}
    for path in paths:
        for content in yaml_texts.parse(str(path), attribute_files.read_text(path)):
            if not isinstance(content, dict):
                raise Invalid(str(path), content, "the sections of flyteadmin's configuration")
            sections |= content
    return list(configuration.records(sections)) if paths else []


def _report_lines(found: Plan, keep_effective: bool) -> Iterator[str]:
    counts = found.counts
    written = found.documents
    if len(written) <= _MAX_LINES:
        for each in found.planned:
            if each.action != "none":
                yield f"{_SIGNS[each.action]} {_subject(each.document)}"
    yield (
        f"{counts.get('create', 0):,} to create, {counts.get('update', 0):,} to change, "
        f"{counts.get('none', 0):,} unchanged"
    )
    if found.refused:
        yield f"not imported: {len(found.refused):,}"
        yield from (f"    {refused.what}: {refused.reason}" for refused in found.refused)
    for difference in found.differences:
        yield from _difference_lines(difference)
    if not found.compared:
        return
    yield (
        f"effective values that differ from Flyte's: {len(found.differences):,} of "
        f"{found.compared:,}"
    )
    if found.differences and not keep_effective:
        yield "--keep-effective extends the records so that targets with a row keep Flyte's value"


def _difference_lines(difference: Difference) -> Iterator[str]:
    yield f"{difference.kind} of {scope_from_body(difference.target)} (Flyte → Trimtab)"
    yield from (f"    {changes.leaf_text(change)}" for change in difference.changes)
    kept = [f"unset {path}" for path in difference.unset]
    kept += [f"set {path}" for path in difference.values]
    yield f"    to keep it: {', '.join(kept)} in {scope_from_body(difference.keep_in)}"


def _subject(body: DocumentBody) -> str:
    if body.kind in ENTITIES:
        return f"{body.kind} {body.name}"
    return f"{body.kind} of {scope_of(body)}"


def _data(found: Plan, is_applied: bool) -> dict[str, Any]:
    return {
        "applied": is_applied,
        "documents": [each.model_dump(mode="json") for each in found.planned],
        "refused": [each.model_dump(mode="json") for each in found.refused],
        "differences": [each.model_dump(mode="json") for each in found.differences],
        "compared": found.compared,
    }
