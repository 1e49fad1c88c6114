"""The recorded calls of Flyte 1, each sent over its own door and compared field by field.

Each scenario begins with an empty database, in an admin that is configured as the recorded server
was.
"""

import base64
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from flyteidl.admin.project_domain_attributes_pb2 import ProjectDomainAttributesUpdateRequest
from flyteidl.service.admin_pb2 import DESCRIPTOR
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status

from tests.flyte.admins import TOKEN, Admin
from tests.servers import PATIENCE_SECONDS

VECTORS = Path(__file__).parent / "vectors" / "flyte_v1.jsonl"

CONFIG: Mapping[str, str] = {
    "records": json.dumps(
        {
            "task_resource": {
                "defaults": {"cpu": "100m", "memory": "500Mi"},
                "limits": {"cpu": "2", "memory": "1Gi", "gpu": "1"},
            },
            "workflow_execution_config": {"max_parallelism": 25},
        }
    ),
}
"""The configuration of the recorded server."""

Fields = Mapping[str, Any]
"""The parts of a response that are compared, by name."""

_METHODS = DESCRIPTOR.services_by_name["AdminService"].methods_by_name
_OPTIONS = [("grpc.max_metadata_size", 128 * 1024), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True)
class Row:
    """One recorded call with its response."""

    scenario: str
    step: int
    door: str
    """``grpc`` or ``rest``."""
    request: Mapping[str, Any]
    response: Mapping[str, Any]
    unstable: frozenset[str]
    """Keys of the response that are not the same in each recording."""

    def __str__(self) -> str:
        return f"{self.scenario} {self.step} ({self.door})"

    @cached_property
    def recorded(self) -> Fields:
        """The fields that the response to the same request has to have."""
        fields = _recorded_grpc(self) if self.door == "grpc" else _recorded_rest(self)
        return {name: value for name, value in fields.items() if name not in self.unstable}


def scenarios() -> dict[str, list[Row]]:
    """Read the recording."""
    with VECTORS.open() as lines:
        rows = [_row(json.loads(line)) for line in lines]
    return {name: list(group) for name, group in groupby(rows, lambda row: row.scenario)}


def _row(content: dict[str, Any]) -> Row:
    return Row(
        scenario=content["scenario"],
        step=content["step"],
        door=content["door"],
        request=content["request"],
        response=content["response"],
        unstable=frozenset(content.get("unstable", ())),
    )


class Recorded:
    """An admin that is configured as the recorded server, to which scenarios are sent."""

    def __init__(self, http: str, channel: grpc.Channel, database: Path) -> None:
        self._http = http
        self._channel = channel
        self._database = database
        self._pristine = database.with_name("pristine.db")
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("VACUUM INTO ?", [str(self._pristine)])

    def replay(self, rows: Sequence[Row]) -> list[Fields]:
        """Send the calls of a scenario, which begins without projects, one after the other."""
        self._reset()
        return [
            send_grpc(row, self._channel) if row.door == "grpc" else send_rest(row, self._http)
            for row in rows
        ]

    def _reset(self) -> None:
        """Give the database the content that it had at the start."""
        with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
            connection.execute("ATTACH ? AS pristine", [str(self._pristine)])
            names = connection.execute(
                "SELECT name FROM pristine.sqlite_schema WHERE type = 'table' "
                "AND name NOT LIKE 'sqlite%'"
            ).fetchall()
            connection.execute("BEGIN IMMEDIATE")
            for (name,) in names:
                connection.execute(f"DELETE FROM main.{name}")
                connection.execute(f"INSERT INTO main.{name} SELECT * FROM pristine.{name}")
            connection.execute("COMMIT")


@contextmanager
def recorded(directory: Path) -> Iterator[Recorded]:
    """Run an admin with all doors in a directory."""
    with (
        Admin(directory, **CONFIG) as admin,
        grpc.insecure_channel(admin.grpc, _OPTIONS) as channel,
    ):
        yield Recorded(admin.url, channel, admin.store / "admin.db")


def send_grpc(row: Row, channel: grpc.Channel) -> Fields:
    method = row.request["rpc"]
    call = channel.unary_unary(f"/{method}")
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    try:
        body = call(_message(row), PATIENCE_SECONDS, metadata)
    except grpc.RpcError as error:
        return {
            "code": error.code().name,
            "message": error.details(),
            "details": _details(error.trailing_metadata()),
        }
    return {"code": "OK", **_message_fields(method, body)}


def _message(row: Row) -> bytes:
    """Return the bytes of the request, of which long ones are described in the recording."""
    request = row.request
    message = request["message"]
    if isinstance(message, str):
        return _large(int(re.findall(r"[0-9]+", message)[0])).SerializeToString()
    if "message_b64" in request:
        return base64.b64decode(request["message_b64"])
    built = GetMessageClass(_METHODS[request["rpc"].rpartition("/")[2]].input_type)()
    json_format.ParseDict(json.loads(_expanded(json.dumps(message))), built)
    return built.SerializeToString()


def _large(letters: int) -> ProjectDomainAttributesUpdateRequest:
    message = ProjectDomainAttributesUpdateRequest()
    attributes = message.attributes
    attributes.project, attributes.domain = "bm", "development"
    attributes.matching_attributes.cluster_resource_attributes.attributes["k"] = "v" * letters
    return message


def _expanded(text: str) -> str:
    """Write out a long name, which the recording has as ``p*7000``."""
    return re.sub(r"p\*([0-9]+)", lambda match: "p" * int(match[1]), text)


def _message_fields(method: str, body: bytes) -> Fields:
    """Return the message as JSON; of a service that is not Flyte's, as it was sent."""
    service, _, name = method.rpartition("/")
    if not service.endswith(".AdminService"):
        return {"message_b64": base64.b64encode(body).decode()}
    message = GetMessageClass(_METHODS[name].output_type).FromString(body)
    return {"message_json": json_format.MessageToDict(message, preserving_proto_field_name=True)}


def _details(metadata: Sequence[tuple[str, str | bytes]] | None) -> Sequence[Any]:
    for key, value in metadata or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            status = json_format.MessageToDict(Status.FromString(value))
            return status.get("details", [])
    return []


def _recorded_grpc(row: Row) -> Fields:
    response = row.response
    if response["code"] != "OK":
        message = _expanded(response["message"])
        if cut := re.search(r"(p+)\.\.\. \(([0-9]+) characters\)$", message):
            message = message[: cut.start(1)] + "p" * (int(cut[2]) - cut.start(1))
        return {"code": response["code"], "message": message, "details": response["details"]}
    content = "message_json" if "message_json" in response else "message_b64"
    return {"code": "OK", content: response[content]}


def send_rest(row: Row, url: str) -> Fields:
    request = row.request
    body = _body(row)
    connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_SECONDS)
    try:
        connection.putrequest(
            request["method"], _expanded(request["path"]), skip_accept_encoding=True
        )
        headers = {**request["headers"], "Authorization": f"Bearer {TOKEN}"}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        content = response.read()
        status = response.status
        sent = {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
    return _rest_fields(row, status, sent, content)


def _body(row: Row) -> bytes | None:
    body = row.request["body"]
    if body is None:
        return None
    if described := re.fullmatch(r"\(a value of ([0-9]+) letters v\)", body):
        large = json_format.MessageToDict(
            _large(int(described[1])), preserving_proto_field_name=True
        )
        return json.dumps(large).encode()
    return str(body).encode()


def _rest_fields(row: Row, status: int, headers: Mapping[str, str], content: bytes) -> Fields:
    """Return what is compared: the headers are those that the recording has."""
    compared = {name: headers.get(name) for name in row.response["headers"] if _is_same(name, row)}
    fields = {"status": status, **compared}
    if "body_bytes" in row.response:
        return fields
    return {**fields, "body": _content(content)}


def _recorded_rest(row: Row) -> Fields:
    response = row.response
    encoded = response.get("body_b64")
    content = base64.b64decode(encoded) if encoded else _expanded(response.get("body", "")).encode()
    return _rest_fields(row, response["status"], response["headers"], content)


def _is_same(header: str, row: Row) -> bool:
    """Return whether a header is to be equal: the length of a JSON text differs by blanks."""
    is_length = header in ("content-length", "transfer-encoding")
    return not (is_length and row.response["headers"].get("content-type") == "application/json")


def _content(content: bytes) -> Any:
    """Return JSON as what it stands for, and any other content as it is."""
    try:
        # The parser of the recorded server writes a no-break space in some of its builds.
        return json.loads(content.decode().replace("\u00a0", " "))
    except ValueError:
        return content
