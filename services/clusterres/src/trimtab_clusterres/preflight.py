"""``python -m trimtab_clusterres.preflight``: checks the Kubernetes clusters before a start.

It exits with the reason why one cannot be used. `trimtab up` runs it, because the service itself
waits for a cluster that does not respond.
"""

import asyncio
import sys

from trimtab.errors import Rejected, TrimtabError
from trimtab.runtime import config
from trimtab_clusterres.clusters.kubernetes.cluster import KubernetesCluster
from trimtab_clusterres.config import ClusterAccess, ClusterresConfig


def main() -> None:
    loaded = config.load(ClusterresConfig)
    for name, access in loaded.clusters.items():
        try:
            asyncio.run(_check(access))
        except TrimtabError as error:
            sys.exit(f"cluster {name}: {error}")


async def _check(access: ClusterAccess) -> None:
    """Raises `Unavailable` or `Rejected`, also where namespaces cannot be managed."""
    if access.api_server is None:
        return
    seconds = access.request_timeout_seconds
    cluster = KubernetesCluster(access.api_server, request_timeout_seconds=seconds)
    try:
        missing = await cluster.missing_permissions(())
    finally:
        await cluster.close()
    if missing:
        raise Rejected("; ".join(missing))


if __name__ == "__main__":
    main()
