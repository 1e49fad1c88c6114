"""The AsyncAPI document: what it says is what is sent, and nothing in it leads nowhere.

``pytest --update-golden tests/unit/trimtab/test_asyncapi.py`` writes it after a change.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from trimtab.cli import asyncapi_document
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


def followed(document: dict[str, Any], reference: str) -> Any:
    place: Any = document
    for step in reference.removeprefix("#/").split("/"):
        place = place[step]
    return place


def test_the_document_is_the_one_that_is_kept(update_golden: bool) -> None:
    text = json.dumps(asyncapi_document.document(), indent=2, ensure_ascii=False) + "\n"
    if update_golden:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi_document.document()
    found = set(references(document))
    assert len(found) > 100
    assert all(isinstance(followed(document, reference), dict) for reference in found)


def test_every_subject_of_a_stream_is_told() -> None:
    addresses = [str(each["address"]) for each in asyncapi_document.document()["channels"].values()]
    told = {".".join(address.split(".")[:3]).partition(".{")[0] for address in addresses}
    untold = {subjects.ALL_COMMANDS, "trimtab.dead.>"}
    stored = {name for each in streams.declared() for name in each.config.subjects or []}
    for subject in stored - untold:
        assert subject.rstrip(".>*") in told, subject


def test_every_request_of_the_protocol_is_told_with_its_answer() -> None:
    operations = asyncapi_document.document()["operations"]
    assert operations["resmgr.force_release"]["action"] == "receive"
    [answer, refusal] = operations["resmgr.force_release"]["reply"]["messages"]
    assert answer["$ref"].endswith("/messages/Released")
    assert refusal["$ref"].endswith("/messages/Problem")


def test_every_body_of_the_protocol_has_a_schema() -> None:
    schemas = asyncapi_document.document()["components"]["schemas"]
    bodies = [v for v in vars(protocol).values() if isinstance(v, type) and issubclass(v, Model)]
    public = {body.__name__ for body in bodies if not body.__name__.startswith("_")} - {"Model"}
    assert public <= schemas.keys()


def test_the_command_line_prints_it() -> None:
    result = CliRunner().invoke(cli, ["asyncapi"], prog_name="trimtab")
    assert result.exit_code == 0
    assert json.loads(result.output) == asyncapi_document.document()
