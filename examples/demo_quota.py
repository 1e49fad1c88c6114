"""The quota of the demo's namespace: a manifest file, or an object of a Kubernetes cluster."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import click
import yaml

from trimtab import quantities

NAMESPACE = "flyteexamples-development"
NAMESPACES = (NAMESPACE, "flyteexamples-production", "flyteexamples-staging")
NAME = "project-quota"


class Quota(Protocol):
    """Where the demo looks at the quota."""

    options: tuple[str, ...]
    """Additional options of `trimtab up`."""
    kind: str

    def hard(self) -> Mapping[str, Any]:
        """Return the limits; empty where there is no quota."""
        ...

    def show(self) -> None: ...

    def changed_at(self) -> float:
        """Return the time of the last change, just after `hard` has returned it."""
        ...

    def clean_up(self) -> None: ...


def limits_are(quota: Quota, cpu: str, memory: str) -> bool:
    expected = {"limits.cpu": cpu, "limits.memory": memory}
    return _amounts(quota.hard()) == _amounts(expected)


def _amounts(hard: Mapping[str, Any]) -> dict[str, Decimal]:
    return {name: quantities.parse(str(amount)) for name, amount in hard.items()}


class QuotaFile:
    """The quota in a directory of manifests."""

    options = ()
    kind = "manifest file"

    def __init__(self, cluster: Path) -> None:
        self._path = cluster / NAMESPACE / f"ResourceQuota-{NAME}.yaml"

    def hard(self) -> Mapping[str, Any]:
        if not self._path.exists():
            return {}
        hard: Mapping[str, Any] = yaml.safe_load(self._path.read_text())["spec"]["hard"]
        return hard

    def show(self) -> None:
        click.echo(f"\n$ cat {self._path}\n{self._path.read_text()}")

    def changed_at(self) -> float:
        return self._path.stat().st_mtime

    def clean_up(self) -> None:
        """Do nothing: the data directory of the demo is deleted."""


class QuotaObject:
    """The quota in a Kubernetes cluster, whose namespaces are deleted at the end."""

    kind = "ResourceQuota"

    def __init__(self, kubeconfig: Path) -> None:
        # It takes half a second, which the other demo does not need.
        from kubernetes import client, config  # noqa: PLC0415

        self.options = ("--kubeconfig", str(kubeconfig))
        self._kubeconfig = kubeconfig
        self._core = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        present = {each.metadata.name for each in self._core.list_namespace().items}
        if found := sorted(present.intersection(NAMESPACES)):
            sys.exit(f"the demo deletes its namespaces, and {', '.join(found)} is there already")

    def hard(self) -> Mapping[str, Any]:
        selected = f"metadata.name={NAME}"
        found = self._core.list_namespaced_resource_quota(NAMESPACE, field_selector=selected).items
        return found[0].spec.hard if found else {}

    def show(self) -> None:
        self._kubectl("get", "resourcequota", "--all-namespaces")

    def changed_at(self) -> float:
        return time.time()

    def clean_up(self) -> None:
        self._kubectl("delete", "namespace", *NAMESPACES, "--wait=false")

    def _kubectl(self, *arguments: str) -> None:
        click.secho(f"\n$ kubectl {' '.join(arguments)}", bold=True)
        of_wheel = Path(sys.executable).with_name("kubectl")
        program = str(of_wheel) if of_wheel.exists() else shutil.which("kubectl") or "kubectl"
        command = [program, "--kubeconfig", str(self._kubeconfig), *arguments]
        click.echo(subprocess.check_output(command, text=True), nl=False)
