"""A real control plane on loopback: etcd, the API server and the controller manager.

Each API server has its own certificate authority, and its own part of etcd's keys, so that one etcd
serves several clusters. There are no nodes: pods stay pending.
"""

import http.client
import os
import shutil
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self
from uuid import uuid4

import trustme

from tests.kubernetes import build, kubeconfigs
from tests.servers import PATIENCE_SECONDS, Server, free_port


class Etcd(Server):
    """One member, whose data is not synced to the disk and deleted at the end."""

    probe = b"GET /health HTTP/1.0\r\n\r\n"
    greeting = b"HTTP/1.0 200 OK"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._peer_port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        command = [os.fspath(build.control_plane()), "etcd", "-data-dir", str(self.store)]
        peer = f"http://127.0.0.1:{self._peer_port}"
        return [*command, "-client-url", self.url, "-peer-url", peer]

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        shutil.rmtree(self.store)


class _HttpsServer(Server):
    """A part of the control plane that serves HTTPS; it keeps its certificate over `stop`."""

    name: str
    health: str
    """The path whose status is 200 once the server is ready."""

    def __init__(self, directory: Path, authority: trustme.CA, token: str) -> None:
        super().__init__(directory)
        self.authority = authority
        """The issuer of the server's certificate."""
        self.token = token
        """The token of a user that may do everything."""
        self._tls = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def key(self) -> Path:
        """The private key of the server's certificate."""
        return self.store / "key.pem"

    def options(self) -> Mapping[str, object]:
        """Return the command-line options of this server only."""
        raise NotImplementedError

    def command(self) -> list[str]:
        options = {
            "bind-address": "127.0.0.1",
            "secure-port": self.port,
            "tls-cert-file": self.store / "certificate.pem",
            "tls-private-key-file": self.key,
            **self.options(),
        }
        program = os.fspath(build.control_plane())
        return [program, self.name, *(f"--{name}={value}" for name, value in options.items())]

    def start(self) -> None:
        if not self.store.exists():
            self._initialise()
        super().start()

    def _initialise(self) -> None:
        self.store.mkdir(parents=True)
        certificate = self.authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(self.key)
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(self.store / "certificate.pem", append=True)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=PATIENCE_SECONDS, context=self._tls
        )
        try:
            connection.request(
                "GET", self.health, headers={"Authorization": f"Bearer {self.token}"}
            )
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class ApiServer(_HttpsServer):
    """An API server with authorization by RBAC."""

    name = "kube-apiserver"
    health = "/readyz"

    def __init__(self, directory: Path, etcd: Etcd) -> None:
        super().__init__(directory, trustme.CA(), uuid4().hex)
        self._etcd = etcd
        self._prefix = f"/{uuid4()}"

    def options(self) -> Mapping[str, object]:
        return {
            "etcd-servers": self._etcd.url,
            "etcd-prefix": self._prefix,
            "allow-privileged": "true",  # as in clusters; admission decides
            "endpoint-reconciler-type": "none",  # the others reject addresses of loopback
            "token-auth-file": self._tokens,
            "authorization-mode": "RBAC",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self.key,
            "service-account-signing-key-file": self.key,
            "service-cluster-ip-range": "10.0.0.0/24",
        }

    @property
    def _tokens(self) -> Path:
        return self.store / "tokens.csv"

    def _initialise(self) -> None:
        super()._initialise()
        self._tokens.write_text(f'{self.token},admin,admin,"system:masters"\n')


class ControllerManager(_HttpsServer):
    """Status of quotas, the ``default`` service accounts, deletion of namespaces, and the rest."""

    name = "kube-controller-manager"
    health = "/healthz"

    def __init__(self, directory: Path, api_server: ApiServer, kubeconfig: Path) -> None:
        super().__init__(directory, api_server.authority, api_server.token)
        self._signing_key = api_server.key
        self._kubeconfig = kubeconfig

    def options(self) -> Mapping[str, object]:
        return {
            "kubeconfig": self._kubeconfig,
            "service-account-private-key-file": self._signing_key,
            "leader-elect": "false",
            "kube-api-qps": 1000,  # the default is 20, and each namespace takes several requests
            "kube-api-burst": 1000,
        }


class ControlPlane:
    """The servers of one cluster. Where it is given an etcd, it uses that one."""

    def __init__(self, directory: Path, etcd: Etcd | None = None) -> None:
        self.kubeconfig = directory / "kubeconfig"
        """The configuration of a client that may do everything."""
        self.etcd = etcd or Etcd(directory / "etcd")
        self.api_server = ApiServer(directory / "api-server", self.etcd)
        self.controller_manager = ControllerManager(
            directory / "controller-manager", self.api_server, self.kubeconfig
        )
        self._owns_etcd = etcd is None
        self._running = ExitStack()

    def __enter__(self) -> Self:
        build.control_plane()  # not while a server is waited for
        server = self.api_server
        with ExitStack() as started:
            if self._owns_etcd:
                started.enter_context(self.etcd)
            started.enter_context(server)
            authority = server.authority.cert_pem.bytes()
            kubeconfigs.write(self.kubeconfig, server.url, authority, server.token)
            # The controller manager gives up when the API server is not ready.
            started.enter_context(self.controller_manager)
            self._running = started.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._running.close()
