"""The doors of Flyte's clients: gRPC and REST of Flyte 1, and the settings service of Flyte 2.

A service is a table of RPCs on protobuf messages. Each door serves the same tables: it decodes a
request, calls `trimtab_admin.flyte.rpc.respond`, and encodes the message or the error.
"""
