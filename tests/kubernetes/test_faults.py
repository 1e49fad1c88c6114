"""The proxy with faults, in front of the real API server."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
import trustme
from kubernetes import client

from tests.kubernetes import faults, kubeconfigs
from tests.kubernetes.clusters import Cluster
from tests.kubernetes.faults import FaultProxy, Request
from tests.servers import PATIENCE_SECONDS

NAMESPACES = "/api/v1/namespaces"
WATCH = {"watch": "true", "timeoutSeconds": str(int(PATIENCE_SECONDS))}
DISCONNECTED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@pytest.fixture
async def http(fault_proxy: FaultProxy) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the proxy."""
    url, authority, token = kubeconfigs.read(fault_proxy.kubeconfig)
    tls = ssl.create_default_context(cadata=authority.decode())
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        aiohttp.ClientSession(
            url,
            connector=aiohttp.TCPConnector(ssl=tls),
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
        ) as session,
    ):
        yield session


async def test_it_forwards_requests_and_counts_them(
    http: aiohttp.ClientSession, fault_proxy: FaultProxy, prefix: str
) -> None:
    large = {"metadata": {"name": f"{prefix}a", "annotations": {"size": "x" * 200_000}}}
    async with http.post(NAMESPACES, json=large) as created:
        assert (await created.json())["metadata"]["annotations"]["size"] == "x" * 200_000
    async with http.get(NAMESPACES, params={"fieldSelector": f"metadata.name={prefix}a"}) as found:
        assert len((await found.json())["items"]) == 1
    assert fault_proxy.requests == [
        Request("POST", NAMESPACES, watch=False),
        Request("GET", NAMESPACES, watch=False),
    ]


async def test_it_forwards_the_events_of_a_watch_as_they_come(
    http: aiohttp.ClientSession, cluster: Cluster, prefix: str
) -> None:
    async with http.get(NAMESPACES, params=WATCH) as response, aclosing(events(response)) as seen:
        assert (await anext(seen))["type"] == "ADDED"
        client.CoreV1Api(cluster.api).create_namespace({"metadata": {"name": f"{prefix}seen"}})
        while (await anext(seen))["object"]["metadata"]["name"] != f"{prefix}seen":
            pass


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        yield json.loads(line)


async def test_a_rule_applies_to_the_requests_that_match_it_so_many_times(
    http: aiohttp.ClientSession, fault_proxy: FaultProxy
) -> None:
    rule = fault_proxy.add(faults.too_many_requests(7), method="GET", path="/namespaces$", times=1)
    async with http.get("/api/v1/nodes") as other, http.get(NAMESPACES) as busy:
        assert (other.status, busy.status, busy.headers["Retry-After"]) == (200, 429, "7")
        assert (await busy.json())["reason"] == "TooManyRequests"
    async with http.get(NAMESPACES) as later:
        assert (later.status, rule.hits) == (200, 1)


async def test_a_watch_expires_before_it_begins_or_within_its_stream(
    http: aiohttp.ClientSession, fault_proxy: FaultProxy
) -> None:
    fault_proxy.add(faults.status(410, "Expired"), watch=True, times=1)
    fault_proxy.add(faults.expired_in_stream(), watch=True, times=1)
    async with http.get(NAMESPACES, params=WATCH) as refused, http.get(NAMESPACES) as listed:
        assert (refused.status, listed.status) == (410, 200)
    async with http.get(NAMESPACES, params=WATCH) as accepted:
        [event] = [event async for event in events(accepted)]
        assert accepted.status == 200
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_responses_are_late_or_never_come(
    http: aiohttp.ClientSession, fault_proxy: FaultProxy
) -> None:
    fault_proxy.add(faults.slow(0.2), times=1)
    fault_proxy.add(faults.never, times=1)
    began = time.monotonic()
    async with http.get(NAMESPACES) as late:
        assert late.status == 200
        assert time.monotonic() - began >= 0.2
    with pytest.raises(TimeoutError):
        await http.get(NAMESPACES, timeout=aiohttp.ClientTimeout(total=0.2))


async def test_connections_are_cut_before_and_within_a_response(
    http: aiohttp.ClientSession, fault_proxy: FaultProxy
) -> None:
    fault_proxy.add(faults.cut(), method="POST", times=1)
    fault_proxy.add(faults.cut(after_bytes=100), method="GET", times=1)
    with pytest.raises(DISCONNECTED):
        await http.post(NAMESPACES, json={})
    async with http.get(NAMESPACES) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    async with http.get(NAMESPACES, params=WATCH) as watching:
        await watching.content.readline()
        fault_proxy.disconnect()
        with pytest.raises(aiohttp.ClientPayloadError):
            await watching.content.read()


@pytest.mark.parametrize("wrong", ["issuer", "name"])
async def test_its_certificate_becomes_wrong_and_right_again(
    http: aiohttp.ClientSession, fault_proxy: FaultProxy, wrong: str
) -> None:
    issuer = trustme.CA() if wrong == "issuer" else fault_proxy.authority
    name = "elsewhere.test" if wrong == "name" else "127.0.0.1"
    fault_proxy.present(issuer.issue_cert(name))
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await http.get(NAMESPACES)
    fault_proxy.present(fault_proxy.authority.issue_cert("127.0.0.1"))
    async with http.get(NAMESPACES) as response:
        assert response.status == 200
