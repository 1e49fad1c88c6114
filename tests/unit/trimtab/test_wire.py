"""Each message equals its golden file, so that a change of a contract shows as a changed file.

``pytest --update-golden tests/unit/trimtab/test_wire.py`` writes the files.
"""

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from trimtab import testing
from trimtab.levels import PLATFORM, Scope
from trimtab.messages import events, executions, resolutions
from trimtab.messages.events import Event
from trimtab.messages.executions import LogEvent
from trimtab.testing import AT, entry
from trimtab.tokens import protocol
from trimtab.workflows.graphs.node_overrides import NodeOverrides

WIRE = Path(__file__).parent / "wire"

RESOURCES = {"cpu": "2", "gpu": "1", "memory": "450Mi", "ephemeral_storage": "10Gi"}
LAUNCH_PLAN = Scope("development", "flyteexamples", "nightly.train", "fast")
OVERRIDES = NodeOverrides.model_validate(
    {
        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}},
        "retries": 0,
        "interruptible": False,
        "container_image": "example/train:1",
        "environment": {"LOG": ""},
    }
)
RESOLUTION = resolutions.Resolution(
    revision=7,
    executor="process",
    execution=(
        resolutions.ResolvedValue(
            path="max_parallelism",
            value=5,
            source="workflow_execution_config.max_parallelism",
            scope="platform",
            revision=2,
        ),
    ),
    nodes={
        "n0": (
            resolutions.ResolvedValue(
                path="resources.limits.cpu",
                value="2",
                source="task_resource.limits.cpu",
                scope="project-domain flyteexamples/development",
                revision=3,
                note="lowered from 3",
            ),
        )
    },
)

SECRET = {
    "group": "db",
    "group_version": "2",
    "key": "password",
    "mount_requirement": "FILE",
    "env_var": "DB_PASSWORD",
}
OAUTH2_CLIENT = {"client_id": "trainer", "client_secret": SECRET}
TOKEN = {
    "name": "warehouse",
    "type": "CLIENT_CREDENTIALS",
    "client": OAUTH2_CLIENT,
    "idp_discovery_endpoint": "https://idp.example.com/.well-known",
    "token_endpoint": "https://idp.example.com/token",
}
EXECUTION_CONFIG: dict[str, object] = {
    "max_parallelism": 5,
    "security_context": {
        "run_as": {
            "iam_role": "arn:aws:iam::1:role/train",
            "k8s_service_account": "demo",
            "oauth2_client": OAUTH2_CLIENT,
            "execution_identity": "ada",
        },
        "secrets": [SECRET],
        "tokens": [TOKEN],
    },
    "raw_output_data_config": {"output_location_prefix": "s3://bucket/raw"},
    "labels": {"team": "a"},
    "annotations": {"example.com/cost-center": "42"},
    "interruptible": True,
    "overwrite_cache": False,
    "envs": {"LOG": "debug"},
    "execution_env_assignments": [
        {
            "node_ids": ["n0"],
            "task_type": "python-task",
            "execution_env": {
                "name": "warm",
                "type": "fast-task",
                "extant": {"id": "q1"},
                "version": "1",
            },
        }
    ],
}

RECORDS: dict[str, dict[str, object]] = {
    "task_resource": {
        "defaults": RESOURCES,
        "limits": RESOURCES,
        "ceiling": RESOURCES,
        "minimum": RESOURCES,
        "over_limit": "clamp",
        "mirror_limits_request": False,
    },
    "cluster_resource": {"attributes": {"projectQuotaCpu": "1000", "quota.memory": "5Ti"}},
    "execution_queue": {"tags": ["critical", "batch"]},
    "execution_cluster_label": {"value": "mycluster"},
    "quality_of_service": {"queueing_budget": "600s"},
    "plugin_override": {
        "overrides": {
            "spark": {
                "plugin_id": ["my-spark-agent", "k8s-spark"],
                "missing_plugin_behavior": "USE_DEFAULT",
            }
        }
    },
    "workflow_execution_config": EXECUTION_CONFIG,
    "cluster_assignment": {"cluster_pool_name": "gpus"},
    "pod_policy": {
        "service_accounts": ["trainer"],
        "privileged": False,
        "host_path": ["/mnt/data"],
        "host_network": True,
        "cluster_labels": [],
    },
    "workflow_priority": {"priority": 10},
}

MESSAGES: dict[str, BaseModel] = {
    **{
        f"record_changed.{kind}": testing.record(document, kind=kind, scope=PLATFORM)
        for kind, document in RECORDS.items()
    },
    "record_changed": testing.record({"unset": ["limits.gpu"]}, scope=LAUNCH_PLAN),
    "record_changed.deleted": testing.deleted(),
    "project_changed": events.ProjectChanged(
        name="flyteexamples",
        display_name="Flyte examples",
        description="Examples",
        labels={"team": "ml"},
    ),
    "domain_changed": events.DomainChanged(name="development"),
    "cluster_changed": events.ClusterChanged(name="local", labels=("mycluster",), weight=0.5),
    "pool_changed": events.PoolChanged(name="gpus", quota=10, project_cap=5),
    "queue_changed": events.QueueChanged(
        name="batch", attributes=("critical", "gpu"), clusters=("east",)
    ),
    "prune_changed": events.PruneChanged(
        cluster="local",
        namespace="flyteexamples-development",
        project="flyteexamples",
        domain="development",
        digest="9f86d081884c7d65",
        objects=("rbac.authorization.k8s.io/Role/spark 0b5e",),
        count=1,
    ),
    "watermark": events.Watermark(revision=7, count=3, digest="00000000000000ff"),
    "namespace_status": events.NamespaceStatus(
        cluster="local",
        namespace="flyteexamples-development",
        project="flyteexamples",
        domain="development",
        revision=7,
        state="ready",
        objects=("ResourceQuota/project-quota",),
        counts={"applied": 1, "unconfirmed": 1},
        details=(
            events.ObjectStatus(
                object="ResourceQuota/project-quota", outcome="applied", seconds=0.02
            ),
            events.ObjectStatus(
                object="Role/spark",
                outcome="unconfirmed",
                identity="rbac.authorization.k8s.io/Role/spark 0b5e",
            ),
        ),
        usable=True,
        prune_digest="9f86d081884c7d65",
        seconds=0.04,
        at=AT,
    ),
    "heartbeat": events.Heartbeat(owner="propeller-0000beef"),
    "executions_waiting": events.ExecutionsWaiting(
        owner="propeller-0000beef",
        project="flyteexamples",
        domain="development",
        reason="namespace flyteexamples-development on cluster local is not ready: it is disabled",
    ),
    "execution_requested": executions.ExecutionRequested(
        request=testing.request(overrides={"trainer": OVERRIDES}, revision=7)
    ),
    "execution.owned": entry(
        executions.Owned, 0, request=testing.request(), location="process:0123456789abcdef"
    ),
    "execution.admitted": entry(executions.Admitted, 1, resolution=RESOLUTION),
    "execution.refused": entry(
        executions.Refused,
        1,
        node="n0",
        path="resources.requests.cpu",
        value="3",
        limit="2",
        scope="project-domain flyteexamples/development",
        message="n0: resources.requests.cpu is 3, over the limit 2",
    ),
    "execution.node_waiting": entry(
        executions.NodeWaiting, 2, node="n0", attempt=0, pool="gpus", reason="10 of 10 are held"
    ),
    "execution.node_starting": entry(
        executions.NodeStarting,
        3,
        node="n0",
        attempt=0,
        fence=1760000000000001,
        lease_seconds=60,
        location="process:0123456789abcdef",
    ),
    "execution.node_running": entry(
        executions.NodeRunning, 4, node="n0", attempt=0, location="e1/n0/0"
    ),
    "execution.node_succeeded": entry(
        executions.NodeSucceeded, 5, node="n0", attempt=0, output={"loss": 0.5}
    ),
    "execution.node_failed": entry(
        executions.NodeFailed,
        5,
        node="n0",
        attempt=0,
        error="propeller stopped the attempt",
        final=False,
        interrupted=True,
        stopped=True,
    ),
    "execution.succeeded": entry(executions.Succeeded, 6, output=4),
    "execution.failed": entry(executions.Failed, 6, node="n0", error="exit code 1"),
    "tokens.register": protocol.Register(pool="gpus", quota=10),
    "tokens.registered": protocol.Registered(pool="gpus", quota=10),
    "tokens.allocate": protocol.Allocate(
        pool="gpus",
        token="e1/n0/0",
        project="flyteexamples",
        domain="development",
        weight=2,
        project_cap=5,
    ),
    "tokens.allocate.several": protocol.Allocate(
        pools=(protocol.Units(pool="gpus", weight=2), protocol.Units(pool="licences")),
        token="e1/n0/0",
        project="flyteexamples",
        domain="development",
        project_domain_cap=0,
        priority=3,
        lease_seconds=30,
        wait_seconds=600,
    ),
    "tokens.allocated": protocol.Allocated(
        status="granted", held=2, lease_seconds=60, fence=1760000000000001, waited_seconds=1.5
    ),
    "tokens.allocated.waiting": protocol.Allocated(
        status="waiting",
        reason="pool 'gpus' has a quota of 10: 10 held, 2 requested",
        held=10,
        position=3,
        blockers=(protocol.Blocker(limit="quota", pool="gpus", number=10, held=10),),
        retry_after_seconds=10,
        waited_seconds=0,
    ),
    "tokens.renew": protocol.Renew(pool="gpus", token="e1/n0/0", fence=1760000000000001),
    "tokens.reassert": protocol.Reassert(
        pool="gpus",
        weight=2,
        token="e1/n0/0",
        project="flyteexamples",
        domain="development",
        fence=1760000000000001,
    ),
    "tokens.renewed": protocol.Renewed(status="held", lease_seconds=60, fence=1760000000000001),
    "tokens.release": protocol.Release(pool="gpus", token="e1/n0/0"),
    "tokens.released": protocol.Released(released=True),
    "tokens.force_release": protocol.ForceRelease(
        pools=("gpus", "licences"), token="e1/n0/0", actor="ann", why="its node burnt down"
    ),
    "tokens.reprioritize": protocol.Reprioritize(pool="gpus", token="e1/n0/0", priority=5),
    "tokens.reprioritized": protocol.Reprioritized(waiting=True, position=1),
    "tokens.locate": protocol.Locate(pool="gpus"),
    "tokens.located": protocol.Located(pool="gpus", cohort="night", held=2, waiting=1),
    "tokens.recount": protocol.Recount(pool="gpus"),
    "tokens.recounted": protocol.Recounted(
        pool="gpus",
        differences=("sum t is 6, its leases have 1",),
        forced=(
            protocol.Forced(
                token="e1/n0/0",
                pools=("gpus",),
                actor="ann",
                why="its node burnt down",
                at_seconds=1760000000.5,
                held=True,
            ),
        ),
    ),
    "tokens.batch": protocol.Batch(
        allocate=(
            protocol.Allocate(
                pool="gpus", token="e1/n1/0", project="flyteexamples", domain="development"
            ),
        ),
        renew=(protocol.Renew(pool="gpus", token="e1/n0/0"),),
        release=(protocol.Release(pool="gpus", token="e0/n0/0", fence=1760000000000000),),
    ),
    "tokens.batched": protocol.Batched(
        allocate=(protocol.Allocated(status="error", reason="pool 'gpus' does not exist"),),
        renew=(protocol.Renewed(status="lost", reason="the lease has ended"),),
        release=(protocol.Released(released=False, reason="it is not held"),),
    ),
    "tokens.granted": protocol.TokenGranted(token="e1/n0/0", pools=("gpus",), claim_seconds=10),
    "tokens.lost": protocol.TokenLost(
        token="e1/n0/0", pools=("gpus",), fence=1760000000000001, reason="the lease has ended"
    ),
    "tokens.inspect": protocol.Inspect(pool="gpus"),
    "tokens.inspected": protocol.Inspected(
        pool="gpus",
        type="redis",
        quota=10,
        held=2,
        by_project={"flyteexamples": 2},
        by_project_domain={"flyteexamples/development": 2},
        holders=(
            protocol.Holder(
                token="e1/n0/0",
                project="flyteexamples",
                domain="development",
                weight=2,
                expires_in_seconds=59.5,
                fence=1760000000000001,
                age_seconds=10.5,
            ),
        ),
        waiters=(
            protocol.Waiter(
                token="e2/n0/0",
                project="flyteexamples",
                domain="development",
                weight=9,
                priority=3,
                position=1,
                reason="pool 'gpus' has a quota of 10: 2 held, 9 requested",
                blockers=(protocol.Blocker(limit="quota", pool="gpus", number=10, held=2),),
                age_seconds=3.5,
            ),
        ),
        waiting=1,
    ),
    "tokens.pools": protocol.Pools(after="cpus", limit=1),
    "tokens.pool_page": protocol.PoolPage(
        type="redis",
        pools=(
            protocol.PoolUse(
                pool="gpus",
                cohort="default",
                declared=True,
                active=True,
                declared_quota=5000,
                quota=1000,
                held=999,
                holding=1,
                waiting=1,
                blocked=protocol.Blocked(
                    reason="quota", pool="gpus", by="e1/n0/0", since_seconds=3.5, demand=9
                ),
            ),
        ),
        next="gpus",
    ),
}


def formatted(message: BaseModel) -> str:
    return json.dumps(json.loads(message.model_dump_json()), indent=2) + "\n"


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_serialised_as_its_golden_file(name: str, update_golden: bool) -> None:
    file = WIRE / f"{name}.json"
    if update_golden:
        file.write_text(formatted(MESSAGES[name]))
    assert formatted(MESSAGES[name]) == file.read_text()


@pytest.mark.parametrize("name", MESSAGES)
def test_a_golden_file_is_parsed_to_its_message(name: str) -> None:
    body = (WIRE / f"{name}.json").read_text()
    message = MESSAGES[name]
    assert type(message).model_validate_json(body) == message
    if isinstance(message, LogEvent):
        assert executions.parse_event(body) == message


@pytest.mark.parametrize("name", [name for name in MESSAGES if not name.startswith("tokens")])
def test_the_type_of_a_message_is_the_name_of_its_file(name: str) -> None:
    message = MESSAGES[name]
    assert isinstance(message, Event | LogEvent)
    stem = name.rpartition(".")[0] if isinstance(message, events.RecordChanged) else name
    assert message.event_type == f"trimtab.{stem or name}.v1"


def test_every_message_has_a_golden_file_and_every_file_a_message() -> None:
    ours = [*Event.__subclasses__(), *LogEvent.__subclasses__()]
    ours += [
        model
        for name, model in vars(protocol).items()
        if getattr(model, "__module__", "") == protocol.__name__ and name[0].isupper()
    ]
    parts = {protocol.Blocker, protocol.Forced, protocol.Holder, protocol.Units, protocol.Waiter}
    parts |= {protocol.Blocked, protocol.PoolUse}
    golden = {type(message) for message in MESSAGES.values()} | parts
    unpublished = {executions.UnknownEvent, executions.UnreadableEvent, events.LaterChange}
    assert {m for m in ours if m.__module__.startswith("trimtab.")} - unpublished == golden
    assert {file.stem for file in WIRE.glob("*.json")} == set(MESSAGES)


@pytest.mark.parametrize("name", [name for name in MESSAGES if not name.startswith("tokens")])
def test_a_field_of_a_later_release_is_ignored(name: str) -> None:
    body = {**json.loads((WIRE / f"{name}.json").read_text()), "field_to_come": 1}
    assert type(MESSAGES[name]).model_validate_json(json.dumps(body)) == MESSAGES[name]


@pytest.mark.parametrize("file", sorted((WIRE / "earlier").iterdir()), ids=lambda file: file.stem)
def test_a_message_of_an_earlier_release_is_parsed_to_the_same_message(file: Path) -> None:
    message = MESSAGES[file.stem]
    assert type(message).model_validate_json(file.read_text()) == message
