"""The connection to Redis or Valkey: one server, or a cluster."""

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisClusterException, RedisError

from trimtab.errors import Invalid
from trimtab_resmgr import config

Client = Redis | RedisCluster

FAILURES = (RedisError, RedisClusterException, OSError)
"""What a call raises that was not answered. redis-py's errors of a cluster are a family apart."""

TIMEOUT_SECONDS = 1.0
"""Of one try of one call. Callers wait some seconds; they are better told early."""


def connect(where: config.Redis) -> Client:
    """Connects when it is first used, and again when it was cut.

    Raises `Invalid` where no server is named.
    """
    if not where.host_paths:
        allowed = "host:port or the path of a unix socket, at least one"
        raise Invalid("resourcemanager.redis.hostPaths", [], allowed)
    places = [config.address(path) for path in where.host_paths]
    password = where.host_key.get_secret_value() or None
    retry = Retry(ExponentialBackoff(cap=0.1, base=0.01), where.max_retries)
    if len(places) > 1:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in places],
            password=password,
            retry=retry,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
    [(host, port)] = places
    return Redis(
        host=host,
        port=port,
        unix_socket_path=None if port else host,
        password=password,
        retry=retry,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
    )
