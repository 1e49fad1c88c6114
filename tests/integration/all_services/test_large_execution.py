"""The largest execution: each of 5,000 nodes is admitted and explained."""

from pathlib import Path

from nats.aio.client import Client

from tests.integration.admin.running import FORCE, register, running, settings_for, until
from tests.integration.propeller.harness import Propeller
from tests.servers import NatsServer
from trimtab.blobs.jetstream import JetStreamBlobStore
from trimtab.workflows.graphs.graph import MAX_NODES, Constant, FromNode, Node, Task, Workflow
from trimtab.workflows.graphs.node_overrides import NodeOverrides

SCOPE = {"project": "shop", "domain": "development"}


def chain() -> Workflow:
    """Return a workflow whose first node waits for a token that no resmgr grants."""
    return Workflow(
        name="chain",
        version="1",
        tasks={"first": Task(name="first", pool="warehouse"), "step": Task(name="step")},
        nodes=tuple(
            Node(
                id=f"n{n}",
                task="step" if n else "first",
                inputs={"x": FromNode(node=f"n{n - 1}") if n else Constant(value=1)},
                overrides=NodeOverrides(environment={"INDEX": f"{n}"}),
            )
            for n in range(MAX_NODES)
        ),
        module="def first(x): return x\ndef step(x): return x\n",
    )


async def test_5000_different_nodes_are_admitted_and_explained(
    tmp_path: Path, nats_server: NatsServer, client: Client
) -> None:
    async with running(settings_for(tmp_path, nats_server.url)) as admin:
        await admin.post("/projects", json={"name": "shop"})
        pool = {"name": "warehouse", "quota": 1}
        await admin.put("/pools/warehouse", json=pool, params=FORCE)
        await register(admin, chain())
        with Propeller(nats_server.url, tmp_path):
            created = await admin.post("/executions", json={**SCOPE, "workflow": "chain"})
            assert created.status_code == 201, created.text
            path = f"/executions/{created.json()['id']}"

            async def is_waiting() -> bool:
                body = (await admin.get(path, params={"node": "n0"})).json()
                assert body["phase"] in ("requested", "running"), body["error"]
                return bool(body["resolution"]) and bool(body["nodes"]["n0"]["reason"])

            await until(is_waiting)
            body = (await admin.get(path)).json()
    assert len(await JetStreamBlobStore(client).list()) == 1
    values = {
        node: {value["path"]: value for value in own}
        for node, own in body["resolution"]["nodes"].items()
    }
    assert list(values) == list(body["nodes"]) == [f"n{n}" for n in range(MAX_NODES)]
    for number in range(MAX_NODES):
        index = values[f"n{number}"]["environment.INDEX"]
        assert (index["value"], index["source"]) == (str(number), "with_overrides")
