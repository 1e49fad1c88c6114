"""The AsyncAPI document is complete, and each of its references resolves.

``pytest --update-golden tests/unit/trimtab/test_asyncapi.py`` writes it after a change.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from trimtab.cli.asyncapi import document
from trimtab.cli.main import cli
from trimtab.messages import subjects
from trimtab.models import Model
from trimtab.tokens import protocol
from trimtab_admin.messaging import streams

GOLDEN = Path(__file__).parents[3] / "docs" / "asyncapi.json"


def references(part: Any) -> Iterator[str]:
    match part:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            yield from (found for value in part.values() for found in references(value))
        case list():
            yield from (found for value in part for found in references(value))


def resolve(reference: str, within: dict[str, Any]) -> Any:
    part: Any = within
    for step in reference.removeprefix("#/").split("/"):
        part = part[step]
    return part


def test_the_document_equals_the_golden_file(update_golden: bool) -> None:
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if update_golden:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_every_reference_resolves() -> None:
    whole = document()
    found = set(references(whole))
    assert len(found) > 100
    assert all(isinstance(resolve(reference, whole), dict) for reference in found)


def test_every_subject_of_a_stream_is_documented() -> None:
    addresses = [str(each["address"]) for each in document()["channels"].values()]
    documented = {".".join(address.split(".")[:3]).partition(".{")[0] for address in addresses}
    objects = {subjects.blob_chunks(">"), subjects.blob_info(">")}
    undocumented = {subjects.ALL_COMMANDS, "trimtab.dead.>", *objects}
    stored = {name for each in streams.declared() for name in each.config.subjects or []}
    for subject in stored - undocumented:
        assert subject.rstrip(".>*") in documented, subject


def test_every_request_of_the_protocol_is_documented_with_its_reply() -> None:
    operations = document()["operations"]
    assert operations["resmgr.force_release"]["action"] == "receive"
    [reply, problem] = operations["resmgr.force_release"]["reply"]["messages"]
    assert reply["$ref"].endswith("/messages/Released")
    assert problem["$ref"].endswith("/messages/Problem")


def test_every_body_of_the_protocol_has_a_schema() -> None:
    schemas = document()["components"]["schemas"]
    bodies = [v for v in vars(protocol).values() if isinstance(v, type) and issubclass(v, Model)]
    public = {body.__name__ for body in bodies if not body.__name__.startswith("_")} - {"Model"}
    assert public <= schemas.keys()


def test_the_command_line_prints_it() -> None:
    result = CliRunner().invoke(cli, ["asyncapi"], prog_name="trimtab")
    assert result.exit_code == 0
    assert json.loads(result.output) == document()
