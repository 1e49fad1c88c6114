"""Workflows, launch plans, and executions of them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from uuid import uuid4

from trimtab.api.executions import (
    ExecutionBody,
    ExecutionChangeBody,
    ExecutionCreate,
    ExecutionEndBody,
    LaunchPlanBody,
    NodeBody,
    WorkflowBody,
)
from trimtab.api.launch_forms import FormHook, LaunchForm
from trimtab.client.http import DRY_RUN, Collection, HttpApi, path_of, without_empty
from trimtab.errors import Invalid, NotFound, Retryable, Unavailable
from trimtab.messages.executions import ENDED

_RETRY_SECONDS = (0.2, 1.0)
"""The delays before a call that has got no response is repeated."""


SILENCE_SECONDS = 45.0
"""Three heartbeats of a stream."""
OUTAGE_SECONDS = 30.0
"""How long admin may be unavailable while a caller waits for an execution."""
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 5.0
"""The delays between polls."""

_FORM_HOOKS = 500
"""The hooks of a page of a form."""

_UNCLAIMED_SECONDS = 2.0
"""How long a stream may have no change at all, before admin is polled for the reason."""

OnNode = Callable[[str, NodeBody], None]
OnReason = Callable[[str], None]


def _ignore(_node: str, _state: NodeBody) -> None:
    pass


def _ignore_reason(_reason: str) -> None:
    pass


async def _form(http: HttpApi, path: str, version: str | None) -> LaunchForm:
    """Return a form with the hooks of all its pages."""
    params = without_empty(version=version, limit=_FORM_HOOKS)
    form = await http.fetch(LaunchForm, "GET", path, params=params)
    hooks: list[FormHook] = list(form.hooks)
    following = form.hooks_next
    while following is not None:
        params = without_empty(version=form.version, limit=_FORM_HOOKS, hooks_after=following)
        page = await http.fetch(LaunchForm, "GET", path, params=params)
        hooks += page.hooks
        following = page.hooks_next
    return form.model_copy(update={"hooks": tuple(hooks), "hooks_next": None})


class Workflows(Collection):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[WorkflowBody]:
        params = without_empty(project=project, domain=domain)
        return await self._http.fetch_list(WorkflowBody, "/workflows", params)

    async def get(
        self, project: str, domain: str, name: str, version: str | None = None
    ) -> WorkflowBody:
        """Return the version, or the newest one."""
        path = path_of("workflows", project, domain, name)
        return await self._http.fetch(
            WorkflowBody, "GET", path, params=without_empty(version=version)
        )

    async def form(
        self, project: str, domain: str, name: str, version: str | None = None
    ) -> LaunchForm:
        """Return what an execution can be given: inputs, and overrides by hook."""
        path = path_of("workflows", project, domain, name, "form")
        return await _form(self._http, path, version)

    async def create(self, workflow: WorkflowBody, *, dry_run: bool = False) -> WorkflowBody:
        """Register a version; a dry run only checks it.

        Raises `Conflict` where it exists with other content.
        """
        params = DRY_RUN if dry_run else {}
        return await self._http.fetch(
            WorkflowBody, "POST", "/workflows", body=workflow, params=params
        )


class LaunchPlans(Collection):
    async def list(
        self, project: str | None = None, domain: str | None = None
    ) -> Sequence[LaunchPlanBody]:
        params = without_empty(project=project, domain=domain)
        return await self._http.fetch_list(LaunchPlanBody, "/launch_plans", params)

    async def form(
        self, project: str, domain: str, name: str, version: str | None = None
    ) -> LaunchForm:
        """Return what an execution through the launch plan can be given."""
        path = path_of("launch_plans", project, domain, name, "form")
        return await _form(self._http, path, version)

    async def create(self, launch_plan: LaunchPlanBody, *, dry_run: bool = False) -> LaunchPlanBody:
        """Register a launch plan; a dry run only checks it."""
        params = DRY_RUN if dry_run else {}
        return await self._http.fetch(
            LaunchPlanBody, "POST", "/launch_plans", body=launch_plan, params=params
        )


class Executions(Collection):
    async def create(
        self, execution: ExecutionCreate, *, idempotency_key: str | None = None
    ) -> ExecutionBody:
        """Create an execution, once, although the call is repeated while admin does not respond.

        A caller that repeats the call itself names its own ``idempotency_key``. Admins of earlier
        releases ignore it.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex}
        for delay in _RETRY_SECONDS:
            with suppress(Unavailable):
                return await self._create(execution, headers)
            await asyncio.sleep(delay)
        return await self._create(execution, headers)

    async def dry_create(self, execution: ExecutionCreate, *, pod_of: str = "") -> ExecutionBody:
        """Return the execution that `create` would start, without an id, with its resolution.

        With a node in ``pod_of``, it has the pod of that node too.
        """
        params = {**DRY_RUN, **without_empty(pod_of=pod_of)}
        return await self._http.fetch(
            ExecutionBody, "POST", "/executions", body=execution, params=params
        )

    async def _create(self, execution: ExecutionCreate, headers: dict[str, str]) -> ExecutionBody:
        return await self._http.fetch(
            ExecutionBody, "POST", "/executions", body=execution, headers=headers
        )

    async def list(
        self, project: str | None = None, domain: str | None = None, limit: int = 100
    ) -> Sequence[ExecutionBody]:
        """Return executions, the newest first."""
        params = without_empty(project=project, domain=domain, limit=limit)
        return await self._http.fetch_list(ExecutionBody, "/executions", params)

    async def get(self, execution: str, *, node: str = "") -> ExecutionBody:
        """Return an execution with its nodes and its resolution, or with one node of them."""
        path, params = path_of("executions", execution), without_empty(node=node)
        return await self._http.fetch(ExecutionBody, "GET", path, params=params)

    async def follow(
        self, execution: str, since: int | None = None
    ) -> AsyncGenerator[ExecutionChangeBody | ExecutionEndBody, None]:
        """Yield the changes of an execution after one with an index, then how it ended.

        Raises `Unavailable` where the stream ends earlier; the caller continues after the last
        change that it has received.
        """
        path, params = f"{path_of('executions', execution)}/events", without_empty(since=since)
        async with self._http.stream_lines(path, params, SILENCE_SECONDS) as lines:
            event = ""
            async for line in lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == "ended":
                    yield ExecutionEndBody.model_validate_json(value)
                    return
                elif name == "data":
                    yield ExecutionChangeBody.model_validate_json(value)
        raise Unavailable(f"the stream of execution {execution} was cut")

    async def wait(
        self, execution: str, on_node: OnNode = _ignore, on_reason: OnReason = _ignore_reason
    ) -> ExecutionBody:
        """Wait until the execution has ended, and return it.

        ``on_node`` is called with states of nodes as they change, ``on_reason`` with the reason why
        no propeller claims the execution; both may be called with the same again. Raises
        `Unavailable` after an outage of `OUTAGE_SECONDS`; the execution continues meanwhile.
        """
        return await _Wait(self, execution, on_node, on_reason).run()


class _Wait:
    """Waits for the end of an execution by its changes.

    It polls in between with a growing delay, which is all that it does where an admin of an earlier
    release or a proxy does not let it follow them.
    """

    def __init__(
        self, executions: Executions, execution: str, on_node: OnNode, on_reason: OnReason
    ) -> None:
        self._executions = executions
        self._execution = execution
        self._on_node = on_node
        self._on_reason = on_reason
        self._can_follow = True
        self._since: int | None = None
        self._delay_seconds = _FIRST_DELAY_SECONDS
        self._outage_began: float | None = None

    async def run(self) -> ExecutionBody:
        while True:
            # A stream that was cut goes on where it ended, without a poll.
            was_cut = self._can_follow and await self._follow()
            if not was_cut and (ended := await self._poll()) is not None:
                return ended
            await asyncio.sleep(self._delay_seconds)
            self._delay_seconds = min(2 * self._delay_seconds, _LONGEST_DELAY_SECONDS)

    async def _follow(self) -> bool:
        """Report changes until the execution has ended, or they cannot be followed.

        Return whether the stream was cut after it had some.
        """
        before = self._since
        patience = _UNCLAIMED_SECONDS if before is None else None
        try:
            async with (
                asyncio.timeout(patience) as first_change,
                aclosing(self._executions.follow(self._execution, self._since)) as changes,
            ):
                async for change in changes:
                    first_change.reschedule(None)
                    self._delay_seconds = _FIRST_DELAY_SECONDS
                    if isinstance(change, ExecutionChangeBody):
                        self._since = change.index
                        if change.state is not None:
                            self._on_node(change.node, change.state)
        except NotFound as error:
            if error.object_type != "path":
                raise
            self._can_follow = False
        except Invalid:
            # A database that was restored has fewer changes.
            self._since = None
        except Retryable:
            return self._since != before
        except TimeoutError:
            self._delay_seconds = _FIRST_DELAY_SECONDS
        return False

    async def _poll(self) -> ExecutionBody | None:
        """Return the execution if it has ended. Raises `Unavailable` after a long outage."""
        try:
            body = await self._executions.get(self._execution)
        except Unavailable:
            now = time.monotonic()
            self._outage_began = self._outage_began or now
            if now - self._outage_began > OUTAGE_SECONDS:
                raise
            return None
        self._outage_began = None
        if body.reason:
            self._on_reason(body.reason)
        for node, state in body.nodes.items():
            self._on_node(node, state)
        return body if body.phase in ENDED else None
