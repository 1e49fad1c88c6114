"""The client of admin's ``/api/v2``: nouns with verbs, our models, our errors.

::

    async with Client("http://127.0.0.1:8080", token) as client:
        effective = await client.records.effective("task_resource", Scope("development", "shop"))

Where admin gives no answer the error is `trimtab.errors.Unavailable`; a refusal is the error that
admin itself raised, with its words. The modules are named as those of `trimtab.api` are.
"""

from types import TracebackType
from typing import Self

from trimtab.api.operations import ResyncBody
from trimtab.client.access import Audit, Tokens
from trimtab.client.calls import Calls
from trimtab.client.executions import Executions, LaunchPlans, Workflows
from trimtab.client.operations import DeadLetters, Namespaces
from trimtab.client.places import Clusters, Domains, Pools, Projects
from trimtab.client.records import Kinds, Records
from trimtab.client.settings import Settings


class Client:
    """Use it as ``async with``: leaving closes its connections."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        calls = Calls(self.url, token)
        self._calls = calls
        self.kinds = Kinds(calls)
        self.records = Records(calls)
        self.settings = Settings(calls)
        self.projects = Projects(calls)
        self.domains = Domains(calls)
        self.clusters = Clusters(calls)
        self.pools = Pools(calls)
        self.workflows = Workflows(calls)
        self.launch_plans = LaunchPlans(calls)
        self.executions = Executions(calls)
        self.namespaces = Namespaces(calls)
        self.dead = DeadLetters(calls)
        self.tokens = Tokens(calls)
        self.audit = Audit(calls)

    async def resync(self) -> ResyncBody:
        """Have everything said again, for readers that have lost it. Every version becomes new."""
        return await self._calls.one(ResyncBody, "POST", "/resync", json={})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._calls.close()
