"""The work of ``trimtab export --flyte``. It needs the extra ``flyte``."""

from pathlib import Path

from trimtab.api.settings import DocumentBody
from trimtab.cli import attribute_files, documents
from trimtab.cli.server import Server
from trimtab.cli.terminal import show, warn
from trimtab.client import Client
from trimtab.flyte.exporting import files_of


def export(server: Server, directory: Path, readable_only: bool) -> None:
    """Write one attribute file for each row, and warn of all that Flyte cannot have."""

    async def stored(client: Client) -> list[DocumentBody]:
        return [body async for body in client.settings.stream_export(readable_only=readable_only)]

    found = files_of(server.call(stored))
    for file in found.files:
        text = attribute_files.to_yaml(file.content, sort_keys=False)
        documents.write_file(directory / file.path, text)
    for lost in found.lost:
        warn(f"{lost.what}: {lost.reason}")
    show(f"wrote {len(found.files):,} files to {directory}")
    if found.files:
        first = found.files[0]
        show(
            f"each is for a command such as\n  flytectl update {first.noun} --attrFile {first.path}"
        )
