"""Hooks that launch plans override, and resources, containers and pods of tasks.

The calls are those of Flyte's proposal for overrides at run time and of its guide to resources and
execution environments; only imports, bodies and names that these leave out are added::

    python examples/overrides_and_environments.py
    trimtab register examples/overrides_and_environments.py -p flyteexamples -d development
"""

from trimtab import (
    Container,
    K8sObjectMetadata,
    K8sPod,
    ResourceEntry,
    ResourceName,
    Resources,
    TaskNodeConfigOverride,
    runtime_override_config,
    task,
    workflow,
)
from trimtab.workflows.definitions import launch_plans as launch_plan


@task
def t0() -> str:
    return "model 1"


@task
def t1() -> str:
    return "yee"


@task
def t2() -> str:
    return "ketan"


@task
def t3() -> str:
    return "done"


@workflow
def sub_wf() -> str:
    t0().with_runtime_override("extractor")
    t1().with_runtime_override("trainer")
    return t2().with_runtime_override("evaluator")


@workflow
def wf() -> None:
    t1()  # this task node cannot be overridden
    t1().with_runtime_override("task-yee")  # can be overridden under the name "task-yee"
    t2().with_runtime_override("task-ketan")  # can be overridden under the name "task-ketan"
    t3()  # this task node cannot be overridden

    t0().with_runtime_override("model_1_resources", runtime_override_config(cpu=1, mem="1Gi"))
    (
        sub_wf()
        .with_runtime_override("extractor", runtime_override_config(retries=3))
        .with_runtime_override("trainer", runtime_override_config(mem=("256Mi", "512Mi")))
        .with_runtime_override("evaluator", runtime_override_config(cache=False))
    )


launch_plan.LaunchPlan.get_or_create(
    workflow=wf,
    name="your_lp_name_5",
    runtime_override={
        "task-yee": TaskNodeConfigOverride(
            resources=Resources(cpu="500m"), cache=False, retries=0, interruptible=False
        ),
        "task-ketan": TaskNodeConfigOverride(
            container_image="ketan:v2", environment={"MODE": "fast"}, cache_version=""
        ),
    },
)

# Define resource requests and limits
resource_requests = [
    ResourceEntry(name=ResourceName.CPU, value="500m"),  # 0.5 CPU
    ResourceEntry(name=ResourceName.MEMORY, value="1Gi"),  # 1 Gigabyte of memory
]

resource_limits = [
    ResourceEntry(name=ResourceName.CPU, value="1"),  # 1 CPU
    ResourceEntry(name=ResourceName.MEMORY, value="2Gi"),  # 2 Gigabytes of memory
]

# Create a Resources object
task_resources = Resources(requests=resource_requests, limits=resource_limits)

# You can access these properties
print(f"CPU Request: {task_resources.requests[0].value}")
print(f"Memory Limit: {task_resources.limits[0].value}")

# Define resources for the container
container_resources = Resources(
    requests=[ResourceEntry(name=ResourceName.CPU, value="250m")],
    limits=[ResourceEntry(name=ResourceName.MEMORY, value="500Mi")],
)

# Define environment variables
container_env = {
    "MY_ENV_VAR": "some_value",
    "DEBUG_MODE": "true",
}

# Create a Container definition
my_container = Container(
    image="python:3.9-slim-buster",
    command=["python"],
    args=["-c", "print('Hello from container!')"],
    resources=container_resources,
    env=container_env,
    config={},
)

print(f"Container Image: {my_container.image}")
print(f"Container CPU Request: {my_container.resources.requests[0].value}")
print(f"Container Environment: {my_container.env}")

# Define metadata for the Pod
pod_metadata = K8sObjectMetadata(
    labels={"environment": "production", "app": "my-ml-task"},
    annotations={"owner": "data-science-team"},
)

# Define a minimal pod spec (in a real scenario, this would be much more detailed)
# This example assumes a primary container named 'main-container' will be added by the system
# and focuses on pod-level configuration.
pod_spec_dict = {
    "containers": [
        {
            "name": "main-container",  # This name identifies the primary container
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
            "resources": {
                "requests": {"cpu": "50m", "memory": "50Mi"},
            },
        },
    ],
    "nodeSelector": {"kubernetes.io/hostname": "my-specific-node"},
}

# Create a K8sPod definition
my_k8s_pod = K8sPod(
    metadata=pod_metadata,
    pod_spec=pod_spec_dict,
    primary_container_name="main-container",  # Specify which container is the primary one
)

print(f"Pod Labels: {my_k8s_pod.metadata.labels}")
print(f"Pod Spec Node Selector: {my_k8s_pod.pod_spec['nodeSelector']}")

# Define the container environment
my_task_container = Container(
    image="my-custom-python-image:v1.0",
    command=["python"],
    args=["{{.inputs.script_path}}"],  # Example of how inputs might be templated
    resources=Resources(
        requests=[
            ResourceEntry(name=ResourceName.CPU, value="1"),
            ResourceEntry(name=ResourceName.MEMORY, value="4Gi"),
        ],
        limits=[
            ResourceEntry(name=ResourceName.CPU, value="2"),
            ResourceEntry(name=ResourceName.MEMORY, value="8Gi"),
        ],
    ),
    env={"TASK_MODE": "production"},
    config={},
)


# Define a Python task that uses this container definition
@task(container=my_task_container)
def my_data_processing_task(script_path: str) -> str:
    """
    A data processing task that runs within the defined container.
    """
    # Your Python code here
    return f"Processed data using script: {script_path}"


@workflow
def processing(script_path: str = "process.py") -> str:
    return my_data_processing_task(script_path=script_path)
