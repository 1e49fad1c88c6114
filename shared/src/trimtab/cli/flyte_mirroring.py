"""The work of ``trimtab mirror flyte``. It needs the extra ``flyte``."""

from pathlib import Path
from typing import Any

from google.protobuf import json_format

from trimtab.cli.commands import Failure
from trimtab.cli.configuration import Output
from trimtab.cli.escaping import in_one_line, to_json, to_yaml
from trimtab.cli.flyte_imports import selected_token
from trimtab.cli.server import Server
from trimtab.cli.terminal import duration, progress, show, warn
from trimtab.client import Client
from trimtab.flyte.client import FlyteAdmin
from trimtab.flyte.following import InStep, Mirror, Outage, Refusal, Report
from trimtab.flyte.mirroring import Delete, Loss, Operation, Register, Update, UpdateProject

_NAMED_TARGETS = 3


def mirror_flyte(
    server: Server,
    endpoint: str,
    insecure: bool,
    ca_file: Path | None,
    token_command: str | None,
    token_file: Path | None,
    flyte_token: str | None,
    once: bool,
    interval: int,
    allow_empty: bool,
    dry_run: bool,
    output: Output,
) -> None:
    """Run ``trimtab mirror flyte``."""
    token = selected_token(token_command, token_file, flyte_token)
    reports = Reports(output, dry_run=dry_run)

    async def run(client: Client) -> int:
        flyte = FlyteAdmin(endpoint, insecure=insecure, ca_file=ca_file, token=token)
        async with flyte:
            found = Mirror(client, flyte, reports.show, dry_run=dry_run, allow_empty=allow_empty)
            if once or dry_run:
                return await found.compare_once()
            await found.follow(interval)
            return 0

    if refused := server.call(run):
        raise Failure(f"Flyte refused {refused} operations")


class Reports:
    """Prints operations on stdout, and everything else on stderr.

    Without ``-o``, the losses of equal fields are one warning.
    """

    def __init__(self, output: Output, *, dry_run: bool) -> None:
        self._output = output
        self._dry_run = dry_run
        self._losses: dict[tuple[str, str, str], list[str]] = {}

    def show(self, report: Report) -> None:
        match self._output:
            case "json":
                show(to_json(_data(report)))
            case "yaml":
                show("---\n" + to_yaml(_data(report)), nl=False)
            case _:
                self._show_text(report)

    def _show_text(self, report: Report) -> None:
        match report:
            case Loss():
                key = (report.kind, report.path, report.reason)
                self._losses.setdefault(key, []).append(str(report.target))
            case Refusal():
                warn(in_one_line(f"{report.operation}: {report.reason}"))
            case Outage():
                warn(f"{report.reason}; everything is read again in {duration(report.seconds)}")
            case InStep():
                self._show_losses()
                if not self._dry_run:
                    progress(f"in step with revision {report.revision}: {report.written} written")
            case _:
                show(in_one_line(f"would {report}" if self._dry_run else str(report)))

    def _show_losses(self) -> None:
        for (kind, path, reason), targets in self._losses.items():
            named = ", ".join(targets[:_NAMED_TARGETS])
            more = len(targets) - _NAMED_TARGETS
            others = f" and {more} more (-o json lists them)" if more > 0 else ""
            warn(f"{reason}: {' '.join(filter(None, (kind, path)))} of {named}{others}")
        self._losses.clear()


def _data(report: Report) -> dict[str, Any]:
    """Return a report as a line of JSON has it."""
    match report:
        case Loss():
            return {
                "action": "lose",
                "kind": report.kind,
                "scope": str(report.target),
                "path": report.path,
                "value": report.value,
                "reason": report.reason,
            }
        case Refusal():
            return {"action": "refuse", "reason": report.reason, **_object(report.operation)}
        case Outage():
            return {"action": "retry", "reason": report.reason, "seconds": report.seconds}
        case InStep():
            return {
                "action": "in_step",
                "revision": report.revision,
                "written": report.written,
                "refused": report.refused,
            }
        case operation:
            action, _, _ = str(operation).partition(" ")
            return {"action": action, **_object(operation)}


def _object(operation: Operation) -> dict[str, Any]:
    """Return what an operation writes or deletes."""
    match operation:
        case Update():
            row = json_format.MessageToDict(operation.message, preserving_proto_field_name=True)
            return {"kind": operation.kind.name, "scope": str(operation.scope), "row": row}
        case Delete():
            return {"kind": operation.kind.name, "scope": str(operation.scope)}
        case Register() | UpdateProject():
            project = operation.project
            state = "archived" if project.is_archived else "active"
            return {"kind": "project", "name": project.id, "state": state}
