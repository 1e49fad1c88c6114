"""The pods whose manifests are golden files; a real API server accepts each one, too.

Each is built as propeller builds it: from a request and the settings, by a resolution.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from tests.unit.propeller.building import PROJECT_DOMAIN, record, settings
from trimtab.messages.events import Event, QueueChanged
from trimtab.messages.executions import Request
from trimtab.workflows.graphs.graph import Constant, Node, Task, Workflow
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides
from trimtab.workflows.graphs.targets import Container, Function, Pod, TaskTarget
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.pods import PodDefaults, build_pod
from trimtab_propeller.resolution import Site, resolve

ANY = Capabilities("any")
CONTAINER = Container(command=("train",))
IMAGE = "registry.example.com/team/train:v1"


@dataclass(frozen=True)
class Case:
    """An attempt of the only node of a workflow."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """Values of the task, as fields of `NodeOverrides`."""
    target: TaskTarget = CONTAINER
    inputs: Mapping[str, JsonValue] = field(default_factory=dict)
    settings: tuple[Event, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `PodDefaults`."""
    request: Mapping[str, Any] = field(default_factory=dict)
    execution: str = "e1"
    node: str = "n0"
    task: str = "train"
    number: int = 0

    @property
    def pod_defaults(self) -> PodDefaults:
        return PodDefaults.model_validate(self.defaults)

    def attempt(self) -> Attempt:
        """Return the attempt that propeller would start. Raises `Refusal`."""
        request = self._request()
        site = Site(pods=self.pod_defaults)
        resolution = resolve(request, settings(*self.settings), ANY, site)
        [node] = request.workflow.nodes
        return Attempt.from_resolution(request, resolution, node, self.number, self.inputs)

    def pod(self) -> dict[str, Any]:
        """Return the manifest. Raises `Refusal` and `AttemptRejected`."""
        return build_pod(self.attempt(), self.pod_defaults)

    def _request(self) -> Request:
        config = NodeOverrides.model_validate(self.config)
        task = Task(name=self.task, target=self.target, config=config)
        inputs = {name: Constant(value=value) for name, value in self.inputs.items()}
        workflow = Workflow(
            name="nightly",
            version="1",
            tasks={self.task: task},
            nodes=(Node(id=self.node, task=self.task, inputs=inputs),),
            module="the text of a module",
        )
        return Request(
            execution=self.execution,
            project=PROJECT_DOMAIN.project,
            domain=PROJECT_DOMAIN.domain,
            workflow=workflow,
            launch_plan=LaunchPlan(name="nightly", workflow="nightly", version="1"),
            **self.request,
        )


def resources(requests: Mapping[str, str], limits: Mapping[str, str] = {}) -> dict[str, Any]:
    return {"requests": dict(requests), "limits": dict(limits)}


def template(*containers: Mapping[str, Any], primary: str = "primary", **spec: Any) -> Any:
    """Return a ``pod_template``."""
    return {
        "pod_spec": {"containers": list(containers), **spec},
        "primary_container_name": primary,
    }


def config_record(**document: Any) -> Event:
    return record("workflow_execution_config", document)


TASK_RESOURCE = {
    "defaults": {"cpu": "500m", "memory": "500Mi"},
    "limits": {"cpu": "4", "memory": "16Gi", "gpu": "4", "ephemeral_storage": "100Gi"},
}
LIMITS = record("task_resource", TASK_RESOURCE)
LOWERING = record("task_resource", {**TASK_RESOURCE, "over_limit": "clamp"})
OUTPUTS = config_record(
    raw_output_data_config={"output_location_prefix": "s3://data/{{ project }}/"}
)
LOGGER = {
    "name": "logger",
    "image": "busybox:1.36",
    "command": ["tail", "-F", "/logs/{{.inputs.day}}.log"],
    "resources": {"requests": {"cpu": "50m", "memory": "50Mi"}},
}
EXAMPLE_POD = {
    # The pod of requirement 003.
    "labels": {"app": "my-ml-task", "environment": "production"},
    "annotations": {"owner": "data-science-team"},
    "primary_container_name": "main-container",
    "pod_spec": {
        "containers": [
            {
                "name": "main-container",
                "image": "python:3.9-slim-buster",
                "command": ["python"],
                "args": ["-c", "print('Hello from custom K8s Pod!')"],
                "resources": {
                    "requests": {"cpu": "250m", "memory": "500Mi"},
                    "limits": {"cpu": "1", "memory": "1Gi"},
                },
            },
            {
                "name": "sidecar-logger",
                "image": "busybox",
                "command": ["sh", "-c", "while true; do echo 'Sidecar logging...'; sleep 5; done"],
                "resources": {"requests": {"cpu": "50m", "memory": "50Mi"}},
            },
        ],
        "nodeSelector": {"kubernetes.io/hostname": "my-specific-node"},
    },
}
PREPARING = {
    "name": "prepare",
    "image": "busybox:1.36",
    "command": ["sh", "-c", 'mkdir -p "$1"', "prepare", "/data/{{.inputs.day}}"],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}},
}
SPOT = {
    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    "node_requirement": {"key": "spot", "operator": "In", "values": ["true"]},
}
NOT_SPOT = {"node_requirement": {"key": "spot", "operator": "DoesNotExist"}}
BASE = {
    "labels": {"site": "a"},
    "pod_spec": {
        "terminationGracePeriodSeconds": 60,
        "containers": [
            {
                "name": "default",
                "securityContext": {"allowPrivilegeEscalation": False},
                "env": [{"name": "HTTP_PROXY", "value": "http://proxy:3128"}],
            },
            {
                "name": "primary",
                "command": ["replaced"],
                "resources": {"limits": {"memory": "2Gi"}},
            },
            {"name": "metrics", "image": "metrics:1"},
        ],
        "initContainers": [
            {"name": "default-init", "securityContext": {"runAsNonRoot": True}},
        ],
    },
}

CASES: Mapping[str, Case] = {
    "container": Case(
        config={
            "container_image": IMAGE,
            "environment": {"TASK_MODE": "production", "PRICE": "5$"},
            "resources": resources({"cpu": "1", "memory": "4Gi"}, {"cpu": "2", "memory": "8Gi"}),
        },
        target=Container(command=("python",), args=("-m", "train")),
        settings=(LIMITS,),
    ),
    "command_of_image": Case(
        config={"container_image": IMAGE}, target=Container(), settings=(LIMITS,)
    ),
    "templates": Case(
        config={"container_image": IMAGE},
        target=Container(
            command=("train", "--day={{.inputs.day}}", "{{ $inputs.title }}"),
            args=(
                "{{.inputs.rows}}",
                "{{.inputs.rate}}",
                "{{.inputs.full}}",
                "{{.inputs.names}}",
                "{{.inputs.options}}",
                "{{.Input}}",
                "{{.inputPrefix}}",
                "{{.outputPrefix}}",
                "{{.rawOutputDataPrefix}}",
                "{{.checkpointOutputPrefix}}",
                "{{.prevCheckpointPrefix}}",
                "{{.perRetryUniqueKey}}",
                "{{.namespace}}",
                "{{ text }} in $(TRIMTAB_NODE)",
            ),
        ),
        inputs={
            "day": "2030-01-31",
            "title": "a b; $(HOME) {{.namespace}}",
            "rows": 3,
            "rate": 0.5,
            "full": True,
            "names": ["a b", "c"],
            "options": {"depth": 3},
        },
        settings=(OUTPUTS,),
        number=1,
    ),
    "function": Case(config={"container_image": IMAGE}, target=Function(), settings=(LIMITS,)),
    "function_default_image": Case(target=Function(), defaults={"function_image": IMAGE}),
    "function_pod_template": Case(
        config={
            "container_image": IMAGE,
            "resources": resources({"cpu": "1"}),
            "pod_template": template(
                {
                    "name": "primary",
                    "command": ["replaced"],
                    "args": ["replaced"],
                    "workingDir": "/work",
                    "volumeMounts": [{"name": "work", "mountPath": "/work"}],
                },
                LOGGER,
                volumes=[{"name": "work", "emptyDir": {}}],
            ),
        },
        target=Function(),
        inputs={"day": "2030-01-31"},
        settings=(LIMITS,),
    ),
    "container_pod_template": Case(
        config={
            "container_image": IMAGE,
            "pod_template": template({"name": "primary", "image": "replaced:1"}, LOGGER),
        },
        inputs={"day": "2030-01-31"},
    ),
    "pod_with_sidecar": Case(config={"pod_template": EXAMPLE_POD}, target=Pod()),
    "pod_without_primary": Case(
        config={
            "container_image": IMAGE,
            "pod_template": template(LOGGER, primary="main"),
            "resources": resources({"cpu": "1"}),
        },
        target=Pod(),
        inputs={"day": "2030-01-31"},
    ),
    "init_containers": Case(
        config={
            "container_image": IMAGE,
            "pod_template": template(
                {
                    "name": "primary",
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                },
                initContainers=[PREPARING],
                volumes=[{"name": "data", "emptyDir": {}}],
            ),
        },
        inputs={"day": "2030-01-31"},
        settings=(LIMITS,),
    ),
    "environment": Case(
        config={
            "container_image": IMAGE,
            "environment": {"LOG": "debug"},
            "pod_template": template(
                {
                    "name": "primary",
                    "env": [
                        {"name": "LOG", "value": "replaced"},
                        {"name": "TRIMTAB_NODE", "value": "replaced"},
                        {"name": "FILE", "value": "/logs/$(TRIMTAB_NODE)"},
                        {
                            "name": "POD_IP",
                            "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
                        },
                    ],
                    "envFrom": [{"configMapRef": {"name": "shared", "optional": True}}],
                },
            ),
        },
        settings=(config_record(envs={"ALL": "{{ execution }}"}),),
    ),
    "gpu": Case(
        config={
            "container_image": IMAGE,
            "resources": resources({"cpu": "2", "gpu": "1"}, {"cpu": "2"}),
        },
        settings=(LIMITS,),
    ),
    "gpu_of_another_vendor": Case(
        config={
            "pod_template": template(
                {
                    "name": "primary",
                    "image": IMAGE,
                    "resources": {
                        "limits": {"gpu": 1, "hugepages-2Mi": "64Mi", "memory": "1Gi"},
                        "requests": {"hugepages-2Mi": "64Mi"},
                    },
                },
                {
                    "name": "decoder",
                    "image": "decoder:1",
                    "resources": {"limits": {"gpu": "1"}},
                },
            ),
        },
        target=Pod(),
        settings=(LIMITS,),
        defaults={"gpu_resource": "amd.com/gpu"},
    ),
    "ephemeral_storage": Case(
        config={
            "container_image": IMAGE,
            "resources": resources({"ephemeral_storage": "5Gi"}, {"ephemeral_storage": "10Gi"}),
        },
        settings=(LIMITS,),
    ),
    "lowered_resources": Case(
        config={
            "pod_template": template(
                {
                    "name": "primary",
                    "image": IMAGE,
                    "resources": {"limits": {"cpu": "8"}, "requests": {"cpu": "6"}},
                },
                {
                    "name": "cache",
                    "image": "cache:1",
                    "resources": {
                        "limits": {"cpu": "5", "memory": "1Gi"},
                        "requests": {"cpu": "5", "memory": "1Gi"},
                    },
                },
                initContainers=[
                    {
                        "name": "fetch",
                        "image": "fetch:1",
                        "resources": {"requests": {"memory": "20Gi"}},
                    }
                ],
            ),
        },
        target=Pod(),
        settings=(LOWERING,),
    ),
    "no_request": Case(
        config={
            "container_image": IMAGE,
            "resources": resources({"cpu": "0", "memory": "1Gi"}, {"cpu": "0"}),
        },
        settings=(LIMITS,),
    ),
    "queue": Case(
        config={"container_image": IMAGE},
        settings=(
            QueueChanged(name="big", attributes=("gpu", "large")),
            record("execution_queue", {"tags": ["large"]}),
        ),
    ),
    "child_queue": Case(
        config={"container_image": IMAGE},
        settings=(
            QueueChanged(name="big", attributes=("gpu", "large"), system="child_queue"),
            record("execution_queue", {"tags": ["large"]}),
        ),
    ),
    "labels": Case(
        config={
            "container_image": IMAGE,
            "pod_template": {
                "labels": {"team": "pod", "app": "train"},
                "annotations": {"note": "of the pod", "owner": "team"},
            },
        },
        settings=(
            config_record(
                labels={"team": "search"},
                annotations={"note": "of the settings"},
            ),
            record("workflow_priority", {"priority": 5}),
        ),
        defaults={"labels": {"team": "all", "site": "a"}, "annotations": {"note": "of all"}},
    ),
    "long_names": Case(
        config={"container_image": IMAGE},
        execution="Quarterly_report." + 60 * "x",
        node="n0.Load_rows." + 80 * "y",
        task="shop.loading." + 80 * "z",
        number=12,
    ),
    "timeout": Case(
        config={
            "container_image": IMAGE,
            "timeout_seconds": 90,
            "pod_template": template(LOGGER, activeDeadlineSeconds=600, restartPolicy="OnFailure"),
        },
        inputs={"day": "2030-01-31"},
    ),
    "interruptible": Case(
        config={
            "container_image": IMAGE,
            "interruptible": True,
            "pod_template": template(
                affinity={
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": zone, "operator": "Exists"}]}
                                for zone in ("zone-a", "zone-b")
                            ]
                        }
                    }
                },
            ),
        },
        defaults={"interruptible": SPOT, "not_interruptible": NOT_SPOT},
    ),
    "not_interruptible": Case(
        config={"container_image": IMAGE},
        defaults={"interruptible": SPOT, "not_interruptible": NOT_SPOT},
    ),
    "accelerator": Case(
        config={
            "container_image": IMAGE,
            "accelerator": "nvidia-tesla-t4",
            "resources": resources({"gpu": "1"}),
        },
        defaults={"resource_tolerations": {"nvidia.com/gpu": []}},
    ),
    "shared_memory": Case(
        config={
            "container_image": IMAGE,
            "shared_memory": "2Gi",
            "resources": resources({"memory": "4Gi"}, {"memory": "4Gi"}),
        },
    ),
    "identity": Case(
        config={"container_image": IMAGE},
        settings=(
            config_record(
                security_context={
                    "run_as": {
                        "k8s_service_account": "trainer",
                        "iam_role": "arn:aws:iam::123456789012:role/trainer",
                    },
                    "secrets": [
                        {"group": "db", "key": "password"},
                        {"group": "certificates", "mount_requirement": "FILE"},
                    ],
                }
            ),
        ),
        defaults={"image_pull_secrets": ["registry"], "image_pull_policy": "IfNotPresent"},
    ),
    "tokens": Case(
        config={"container_image": IMAGE, "shared_memory": True},
        settings=(
            LIMITS,
            config_record(
                security_context={
                    "run_as": {"execution_identity": "ada@example.com"},
                    "secrets": [
                        {"group": "db", "key": "ca.crt", "mount_requirement": "FILE"},
                        {"group": "db", "key": "user", "mount_requirement": "ENV_VAR"},
                    ],
                    "tokens": [
                        {
                            "name": "API_TOKEN",
                            "type": "CLIENT_CREDENTIALS",
                            "token_endpoint": "https://id.example.com/token",
                            "client": {
                                "client_id": "trainer",
                                "client_secret": {"group": "oauth", "key": "secret"},
                            },
                        }
                    ],
                }
            ),
        ),
    ),
    "base_template": Case(
        config={
            "container_image": IMAGE,
            "pod_template": template(
                LOGGER,
                primary="main",
                initContainers=[{"name": "prepare", "image": "busybox:1.36"}],
            ),
        },
        inputs={"day": "2030-01-31"},
        defaults={"pod_templates": {"base": BASE}, "pod_template": "base"},
    ),
    "priority": Case(
        config={"container_image": IMAGE},
        settings=(record("workflow_priority", {"priority": 5}),),
        defaults={
            "priority_classes": {"0": "normal", "10": "urgent"},
            "scheduler_name": "batch-scheduler",
            "node_selector": {"disk": "ssd"},
        },
    ),
}
"""By the name of the golden file."""
