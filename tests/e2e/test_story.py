"""The demo, through published ports with the command line."""

import json

from tests.e2e.stack import Stack

FLAGS = ("-p", "flyteexamples", "-d", "development")
NAMESPACE = "flyteexamples-development"
QUOTA = "ResourceQuota-project-quota"


def quota(stack: Stack) -> set[str]:
    """Return the lines of the manifest of the quota, without quotes."""
    manifest = stack.manifest(NAMESPACE, QUOTA).replace('"', "").replace("'", "")
    return {line.strip() for line in manifest.splitlines()}


def test_the_demo_runs_in_containers(stack: Stack) -> None:
    stack.trimtab("register", "project", "flyteexamples")
    stack.eventually(lambda: quota(stack))
    for kind, file in (
        ("task-resource-attribute", "tra.yaml"),
        ("cluster-resource-attribute", "cra.yaml"),
        ("execution-cluster-label", "ec.yaml"),
    ):
        stack.trimtab("update", kind, "--attrFile", f"examples/{file}", "--force")
    stack.eventually(lambda: "limits.cpu: 1000" in quota(stack))
    assert "limits.memory: 5Ti" in quota(stack)
    stack.eventually(lambda: NAMESPACE in stack.trimtab("get", "namespaces"))

    stack.trimtab("register", "examples/nightly.py", *FLAGS)
    assert "succeeded" in stack.trimtab("execute", "nightly", *FLAGS)
    execution = execute(stack, cpu="2").split()[0]
    explained = json.loads(stack.trimtab("explain", "execution", execution, "-o", "json"))
    assert {
        value["value"]
        for values in explained["resolution"]["nodes"].values()
        for value in values
        if value["source"] == "execution override"
    } == {"2"}
    refusal = execute(stack, cpu="3", code=2)
    assert "task_resource.limits.cpu of project-domain flyteexamples/development" in refusal
    stack.eventually(lambda: "0 of 2 held" in stack.trimtab("describe", "pool", "warehouse"))


def execute(stack: Stack, cpu: str, code: int = 0) -> str:
    override = json.dumps({"resources": {"requests": {"cpu": cpu}}})
    return stack.trimtab(
        "execute", "nightly", *FLAGS, "--override", f"trainer={override}", code=code
    )


def test_nats_keeps_what_it_has_acknowledged(stack: Stack) -> None:
    status = json.loads(stack.exec("admin-1", "python", "-c", GET_STATUS))
    assert status["nats_sync"] == "always"


GET_STATUS = """
import urllib.request
token = open("/run/secrets/api_token").read()
request = urllib.request.Request(
    "http://127.0.0.1:8080/api/v2/status", headers={"Authorization": f"Bearer {token}"}
)
print(urllib.request.urlopen(request).read().decode())
"""
