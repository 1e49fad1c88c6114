"""compose.yaml as a person runs it, with two replicas of what scales out."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.servers import PATIENCE_SECONDS, free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
FILES = ("compose.yaml", "deploy/packages/compose.yaml", "tests/e2e/compose.yaml")
SERVICES = ("admin", "clusterres", "propeller", "resmgr")
SERVERS = ("nats", "postgres", "valkey")
REPLICATED = ("admin", "propeller", "resmgr")

T = TypeVar("T")


class Stack:
    """The containers of one project of Docker Compose."""

    def __init__(self, *, observed: bool = False) -> None:
        """``observed`` runs Jaeger and Prometheus too, which are compiled first."""
        self._observers = ("jaeger", "prometheus") if observed else ()
        self.project = "trimtab-e2e-observed" if observed else "trimtab-e2e"
        git = ("git", "rev-parse", "HEAD")
        self.revision = subprocess.check_output(git, cwd=ROOT, text=True).strip()
        first = self._two_ports()
        self.urls = [f"http://127.0.0.1:{port}" for port in (first, first + 1)]
        """The addresses of the two replicas of admin, in an order that a restart may change."""
        grpc = self._two_ports()
        self.grpc_addresses = [f"127.0.0.1:{port}" for port in (grpc, grpc + 1)]
        """The addresses of their gRPC ports."""
        self.jaeger_url, self.prometheus_url = (
            f"http://127.0.0.1:{port}" for port in (free_port(), free_port())
        )
        self.token = ""
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "TRIMTAB_API_PORT": f"{first}-{first + 1}",
            "TRIMTAB_GRPC_PORT": f"{grpc}-{grpc + 1}",
            "TRIMTAB_NATS_PORT": str(free_port()),
            "TRIMTAB_JAEGER_PORT": self.jaeger_url.rpartition(":")[2],
            "TRIMTAB_PROMETHEUS_PORT": self.prometheus_url.rpartition(":")[2],
            "TRIMTAB_REVISION": self.revision,
            "E2E_EXPORTER": "otlp" if observed else "none",
        }

    @staticmethod
    def _two_ports() -> int:
        """Return the first of two neighbouring ports that are free."""
        while True:
            first, second = sorted((free_port(), free_port()))
            if second == first + 1:
                return first

    def compose(self, *arguments: str, timeout: float = 10 * PATIENCE_SECONDS) -> str:
        """Run a command of Docker Compose and return its output."""
        files = [word for file in FILES for word in ("--file", file)]
        return self._run(str(BIN / "docker-compose"), *files, *arguments, timeout=timeout)

    def _run(self, *command: str, timeout: float = PATIENCE_SECONDS) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def docker(self, *arguments: str) -> str:
        return self._run("docker", *arguments).strip()

    def exec(self, container: str, *command: str) -> str:
        """Run a command in a container and return its output."""
        return self.docker("exec", self.name(container), *command)

    def name(self, container: str) -> str:
        """Return Docker's name of a container such as ``nats-1``."""
        return f"{self.project}-{container}"

    def up(self) -> None:
        scales = [word for name in REPLICATED for word in ("--scale", f"{name}=2")]
        self.compose("up", "--detach", "--wait", *scales, *SERVICES, *self._observers)
        self.token = self.compose("exec", "admin", "cat", "/run/secrets/api_token").strip()

    def __enter__(self) -> Self:
        # A run that was killed leaves its containers and volumes.
        self.compose("down", "--volumes", "--timeout", "0")
        self.compose("build", *SERVICES, *SERVERS, *self._observers, timeout=30 * PATIENCE_SECONDS)
        try:
            self.up()
        except BaseException as error:
            error.add_note(self.logs())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.compose("down", "--volumes", "--timeout", "20")

    def containers(self) -> list[str]:
        """Return the names of all containers of servers and services, such as ``nats-1``."""
        replicas = {name: (1, 2) if name in REPLICATED else (1,) for name in (*SERVERS, *SERVICES)}
        return [f"{name}-{number}" for name, numbers in replicas.items() for number in numbers]

    def inspect(self, container: str) -> dict[str, Any]:
        """Return Docker's description of a container."""
        [found] = json.loads(self.docker("inspect", self.name(container)))
        return dict(found)

    def health(self, container: str) -> str:
        state = self.inspect(container)["State"]
        return str(state["Health"]["Status"]) if state["Running"] else "not running"

    def wait_until_healthy(self, *containers: str) -> None:
        for container in containers or self.containers():
            self.eventually(lambda name=container: self.health(name) == "healthy")  # type: ignore[misc]

    def kill(self, container: str) -> None:
        """Kill the first process of a container, as a crash would; its policy starts it again."""
        state = self.inspect(container)["State"]
        # `docker kill` would count as a request to stop it. Only root of the engine's host may send
        # the signal.
        code = f"import os; os.kill({state['Pid']}, 9)"
        command = ("--rm", "--pid", "host", "--user", "0", "--entrypoint", "python")
        self.docker("run", *command, "trimtab-admin", "-c", code)
        self.eventually(lambda: self.inspect(container)["State"]["StartedAt"] != state["StartedAt"])

    def restart(self, container: str) -> None:
        self.docker("restart", self.name(container))

    def logs(self) -> str:
        """Return the last lines of each container's log, for the report of a failure."""
        state = self.compose("ps", "--all")
        return state + self.compose("logs", "--no-color", "--tail", "60")

    def ready(self, container: str) -> dict[str, Any]:
        """Return the response of ``/readyz``; empty where there is none."""
        with suppress(AssertionError, ValueError):
            command = ("python", "-I", "-S", "/opt/healthcheck.py")
            return dict(json.loads(self.exec(container, *command)))
        return {}

    def views(self) -> list[object]:
        """Return the summary of the settings that each reader works with."""
        readers = [name for name in self.containers() if name.split("-")[0] in SERVICES[1:]]
        return [self.ready(name).get("view", name) for name in readers]

    def manifest(self, namespace: str, name: str) -> str:
        """Return a manifest that clusterres has written; empty where there is none."""
        file = f"/var/lib/trimtab/clusters/{namespace}/{name}.yaml"
        with suppress(AssertionError):
            return self.exec("clusterres-1", "cat", file)
        return ""

    def trimtab(self, *arguments: str, code: int = 0) -> str:
        """Run the command line as a person does, and return what it prints."""
        done = subprocess.run(
            [str(BIN / "trimtab"), *arguments],
            cwd=ROOT,
            env={**os.environ, "TRIMTAB_SERVER": self.urls[0], "TRIMTAB_TOKEN": self.token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}"
        return done.stdout

    @staticmethod
    def eventually(holds: Callable[[], T]) -> T:
        """Wait until a condition holds, and return its value."""
        deadline = time.monotonic() + 2 * PATIENCE_SECONDS
        while not (value := holds()):
            assert time.monotonic() < deadline, "the condition did not hold in time"
            time.sleep(0.3)
        return value
