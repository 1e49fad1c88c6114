"""Reads the address and the credentials of an API server for the client."""

from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from trimtab.errors import Unavailable
from trimtab_clusterres.clusters.kubernetes.access import Access, Kubeconfig


async def read(access: Access) -> Configuration:
    """Return the configuration of the client, which may run a plug-in.

    Raises `Unavailable` where there are no credentials now.
    """
    configuration = Configuration()
    try:
        access.check()
        if isinstance(access, Kubeconfig):
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                str(access.path), access.context, configuration, persist_config=False
            )
        else:
            # The client itself reads the token again every minute.
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    except Exception as error:  # a plug-in or an identity provider fails in any way
        raise Unavailable(f"no credentials for {_name(access)}: {error}") from error
    return configuration


def _name(access: Access) -> str:
    return str(access.path) if isinstance(access, Kubeconfig) else "the pod's service account"
