"""Makes calls by flytekit's own client. It runs in the environment of flytekit.

Its argument is the path of a configuration file. Standard input has a list of calls, each with the
name of a method and its arguments; a name that begins with a capital is one of the RPCs of the
client's stub, and has a message as its argument. Standard output has a list of results or errors.
"""

import json
import sys
from typing import Any

from flyteidl.admin import matchable_resource_pb2
from flyteidl.service import admin_pb2
from flytekit.configuration import Config
from flytekit.exceptions.base import FlyteException
from flytekit.models.matchable_resource import MatchingAttributes
from flytekit.models.project import Project
from flytekit.remote import FlyteRemote
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

RPCS = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].methods_by_name


def argument(name: str, value: Any) -> Any:
    """Return the model that the client's methods take in place of JSON, else the value."""
    if name == "matching_attributes":
        message = ParseDict(value, matchable_resource_pb2.MatchingAttributes())
        return MatchingAttributes.from_flyte_idl(message)
    return Project(**value) if name == "project" and isinstance(value, dict) else value


def respond(client: Any, name: str, arguments: dict[str, Any]) -> Any:
    if name[0].isupper():
        request = ParseDict(arguments, GetMessageClass(RPCS[name].input_type)())
        return shown(getattr(client._stub, name)(request))
    method = getattr(client, name)
    return shown(method(**{key: argument(key, arguments[key]) for key in arguments}))


def shown(result: Any) -> Any:
    if isinstance(result, list | tuple):
        return [shown(each) for each in result]
    if hasattr(result, "to_flyte_idl"):
        result = result.to_flyte_idl()
    return MessageToDict(result) if isinstance(result, Message) else result


def main() -> None:
    client = FlyteRemote(Config.auto(sys.argv[1])).client
    results = []
    for name, arguments in json.load(sys.stdin):
        try:
            results.append({"result": respond(client, name, arguments)})
        except FlyteException as error:
            cause = error.__cause__
            found = {"error": type(error).__name__, "code": cause.code().name}
            results.append({**found, "details": cause.details()})
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
