"""Jaeger has the traces, and Prometheus the metrics, of all services."""

import json
import urllib.parse
import urllib.request
from typing import Any

from tests.e2e.stack import SERVICES, Stack
from tests.servers import PATIENCE_SECONDS


def get(url: str, **query: str) -> Any:
    with urllib.request.urlopen(
        f"{url}?{urllib.parse.urlencode(query)}", timeout=PATIENCE_SECONDS
    ) as response:
        return json.load(response)["data"]


def services_of(trace: Any) -> set[str]:
    return {process["serviceName"] for process in trace["processes"].values()}


def test_one_trace_runs_from_the_call_to_the_manifest(stack: Stack) -> None:
    stack.trimtab("register", "project", "flyteexamples")
    stack.trimtab(
        "update", "cluster-resource-attribute", "--attrFile", "examples/cra.yaml", "--force"
    )

    def traces() -> list[Any]:
        found = get(f"{stack.jaeger_url}/api/traces", service="trimtab-clusterres", limit="200")
        return [trace for trace in found if "trimtab-admin" in services_of(trace)]

    assert stack.eventually(traces)


def test_an_execution_is_traced_to_its_tokens(stack: Stack) -> None:
    flags = ("-p", "flyteexamples", "-d", "development")
    stack.trimtab("register", "examples/nightly.py", *flags)
    stack.trimtab("execute", "nightly", *flags)

    def traces() -> list[Any]:
        found = get(f"{stack.jaeger_url}/api/traces", service="trimtab-resmgr", limit="200")
        return [trace for trace in found if "trimtab-propeller" in services_of(trace)]

    assert stack.eventually(traces)


def test_prometheus_has_the_metrics_of_each_service(stack: Stack) -> None:
    jobs = {f"trimtab-{service}" for service in SERVICES}
    url = f"{stack.prometheus_url}/api/v1"
    stack.eventually(lambda: jobs <= set(get(f"{url}/label/job/values")))

    def revisions() -> list[str]:
        query = "trimtab_settings_revision or trimtab_view_revision"
        return [series["value"][1] for series in get(f"{url}/query", query=query)["result"]]

    # Each replica reports a revision, and all work with the same one.
    replicas = len([name for name in stack.containers() if name.split("-")[0] in SERVICES])
    stack.eventually(lambda: len(revisions()) == replicas)
    stack.eventually(lambda: len(set(revisions())) == 1)
