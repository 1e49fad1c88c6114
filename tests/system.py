"""The four services as processes on real servers, configured as in production."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer, free_port

ROOT = Path(__file__).parent.parent


class System:
    """The servers and services of one directory. Services start in any order."""

    def __init__(self, directory: Path, database_url: str = "") -> None:
        """``database_url`` is a SQLite file of the directory by default."""
        self.directory = directory
        self._database_url = database_url or f"sqlite+aiosqlite:///{directory}/admin.db"
        self.nats = NatsServer(directory / "nats", user="trimtab", password="secret")
        self.valkey = ValkeyServer(directory / "valkey")
        self.manifests = directory / "clusters" / "embedded"
        self.token = "test-token"
        self._ports = {name: free_port() for name in self._own_variables()}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """The address of admin."""
        return self.address("admin")

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    def start(self, *names: str) -> None:
        for name in names:
            with (self.directory / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", f"trimtab_{name}"],
                    env=self._environment(name),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)

    def kill(self, *names: str) -> None:
        """Kill services, as a crash would."""
        for name in names:
            process = self._processes.pop(name)
            process.kill()
            process.wait()

    def readiness(self, name: str) -> dict[str, Any]:
        """Return the body of ``/readyz``; empty where the service does not respond."""
        try:
            with urllib.request.urlopen(
                f"{self.address(name)}/readyz", timeout=PATIENCE_SECONDS
            ) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as answer:
            return dict(json.load(answer))
        except OSError:
            return {}

    async def until_ready(self, *names: str) -> None:
        """Wait until services are ready. Raises `AssertionError` with the log of a service."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for name in names or tuple(self._processes):
            while self.readiness(name).get("status") != "ready":
                log = (self.directory / f"{name}.log").read_text()[-4000:]
                assert time.monotonic() < deadline, f"{name}: {self.readiness(name)}\n{log}"
                assert self._processes[name].poll() is None, f"{name} ended:\n{log}"
                await asyncio.sleep(0.05)

    def views(self) -> list[Mapping[str, object]]:
        """Return the summary of the view of each service that has one."""
        readers = [name for name in self._processes if name != "admin"]
        return [self.readiness(name).get("view", {}) for name in readers]

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "token").write_text(self.token)
        with ExitStack() as stack:
            stack.enter_context(self.nats)
            stack.enter_context(self.valkey)
            stack.callback(self._end)
            self.start(*self._ports)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def _environment(self, name: str) -> dict[str, str]:
        own = {
            "NATS_URL": self.nats.url,
            "NATS_USER": self.nats.user,
            "NATS_PASSWORD": self.nats.password,
            "PORT": str(self._ports[name]),
            **self._own_variables()[name],
        }
        inherited = {key: value for key, value in os.environ.items() if key[:7] != "TRIMTAB"}
        return inherited | {f"TRIMTAB_{key}": value for key, value in own.items()}

    def _own_variables(self) -> dict[str, dict[str, str]]:
        token = str(self.directory / "token")
        values = {"projectQuotaCpu": "4", "projectQuotaMemory": "3000Mi"}
        cluster = {"name": "embedded", "labels": ["mycluster"]}
        access = {"directory": str(self.manifests), "prune": {"default": "confirm"}}
        redis = {"hostPaths": [f"127.0.0.1:{self.valkey.port}"]}
        return {
            "admin": {
                "DATABASE_URL": self._database_url,
                "TOKEN_FILE": token,
                "RECORDS": json.dumps({"cluster_resource": {"attributes": values}}),
                "CLUSTERS": json.dumps([cluster]),
            },
            "clusterres": {
                "TEMPLATES": str(ROOT / "examples" / "cluster-resource-templates"),
                "CLUSTERS": json.dumps({"embedded": access}),
            },
            "propeller": {"DATA_DIR": str(self.directory / "executions")},
            "resmgr": {
                "RESOURCEMANAGER": json.dumps({"type": "redis", "redis": redis}),
                "ADMIN_URL": f"http://127.0.0.1:{getattr(self, '_ports', {}).get('admin', 0)}",
                "TOKEN_FILE": token,
            },
        }
