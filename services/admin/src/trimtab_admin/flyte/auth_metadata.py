"""``flyteidl.service.AuthMetadataService``: where clients of Flyte find how to authenticate.

Trimtab has no OAuth2: a client sends an API token, which it has from its configuration. The client
reads this service before its first call, and from it the name of the metadata for the token.
"""

from flyteidl.service import auth_pb2

from trimtab_admin.access.call import Call
from trimtab_admin.flyte.rpc import Rpc, Service, any_caller

_SERVICE = auth_pb2.DESCRIPTOR.services_by_name["AuthMetadataService"]


def make() -> Service:
    """Return the service; a client calls it before it has a token."""
    return Service(
        _SERVICE,
        [
            Rpc("GetOAuth2Metadata", _oauth2_metadata, any_caller, is_open=True),
            Rpc("GetPublicClientConfig", _public_client_config, any_caller, is_open=True),
        ],
    )


async def _oauth2_metadata(
    _call: Call, _request: auth_pb2.OAuth2MetadataRequest
) -> auth_pb2.OAuth2MetadataResponse:
    # Empty: there is no server that issues tokens.
    return auth_pb2.OAuth2MetadataResponse()


async def _public_client_config(
    _call: Call, _request: auth_pb2.PublicClientAuthConfigRequest
) -> auth_pb2.PublicClientAuthConfigResponse:
    return auth_pb2.PublicClientAuthConfigResponse(
        client_id="trimtab", authorization_metadata_key="authorization"
    )
