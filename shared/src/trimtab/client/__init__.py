"""The client of admin's ``/api/v2``: a collection for each type of object, with verbs.

::

    async with Client("http://127.0.0.1:8080", token) as client:
        effective = await client.records.effective("task_resource", Scope("development", "shop"))

A call without a response raises `trimtab.errors.Unavailable`. An error response raises the error
class that admin raised, with its message.
"""

from types import TracebackType
from typing import Self

from trimtab.api.doctor import ClusterresBody
from trimtab.api.maintenance import ResyncBody, StatusBody
from trimtab.client.access import Audit, Tokens
from trimtab.client.blobs import Blobs
from trimtab.client.entities import Clusters, Domains, Pools, Projects, Queues
from trimtab.client.executions import Executions, LaunchPlans, Workflows
from trimtab.client.http import DRY_RUN, HttpApi, OnWarning, ignore
from trimtab.client.maintenance import DeadLetters, Namespaces
from trimtab.client.records import Kinds, Records
from trimtab.client.settings import Settings


class Client:
    """An async context manager; leaving it closes the connections."""

    def __init__(self, url: str, token: str = "", on_warning: OnWarning = ignore) -> None:
        """``on_warning`` is called with each warning of admin about the parameters of a call."""
        self.url = url.rstrip("/")
        http = HttpApi(self.url, token, on_warning)
        self._http = http
        self.kinds = Kinds(http)
        self.records = Records(http)
        self.settings = Settings(http)
        self.projects = Projects(http)
        self.domains = Domains(http)
        self.clusters = Clusters(http)
        self.pools = Pools(http)
        self.queues = Queues(http)
        self.workflows = Workflows(http)
        self.launch_plans = LaunchPlans(http)
        self.executions = Executions(http)
        self.blobs = Blobs(http)
        self.namespaces = Namespaces(http)
        self.dead = DeadLetters(http)
        self.tokens = Tokens(http)
        self.audit = Audit(http)

    async def clusterres(self) -> ClusterresBody:
        """Return the report of clusterres, or why there is none."""
        return await self._http.fetch(ClusterresBody, "GET", "/clusterres")

    async def status(self) -> StatusBody:
        return await self._http.fetch(StatusBody, "GET", "/status")

    async def resync(self, *, dry_run: bool = False) -> ResyncBody:
        """Publish everything again, for readers that lost their state. All versions change.

        A dry run returns how much that would be.
        """
        params = DRY_RUN if dry_run else {}
        return await self._http.fetch(ResyncBody, "POST", "/resync", json={}, params=params)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._http.close()
