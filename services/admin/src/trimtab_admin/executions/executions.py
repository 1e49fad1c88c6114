"""Creates executions with everything that propeller needs, and reads them with their state."""

import base64
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.api.executions import ExecutionBody, ExecutionCreate, NodeBody
from trimtab.errors import Invalid, NotFound
from trimtab.levels import Scope
from trimtab.messages.executions import NodeState, Request, State
from trimtab.settings.state import Settings
from trimtab.workflows.graph import ExecutionConfig, LaunchPlan, Workflow
from trimtab_admin.access.authorization import Caller
from trimtab_admin.executions.projection import new_row, parse_request, stored_state
from trimtab_admin.executions.workflows import find_launch_plan, find_workflow
from trimtab_admin.settings.entities import check_active, check_scope
from trimtab_admin.storage import tables
from trimtab_admin.storage.changes import MAX_EVENT_BYTES
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree
from trimtab_admin.storage.visibility import visible_to

Row = Mapping[Any, Any]
"""A row of the table by column; `sqlalchemy.RowMapping` has the same type."""

_ROW = tables.executions.c
_PARTS = {
    "project": _ROW.project,
    "domain": _ROW.domain,
    "workflow": _ROW.workflow,
    "launch_plan": _ROW.launch_plan,
}


class Executions:
    """Creates, lists and reads executions."""

    def __init__(
        self, reading: Sessions, sessions: Sessions, tree: Tree, created: Callable[[], None]
    ) -> None:
        """``created`` is called after an execution was stored, to have it requested."""
        self._reading = reading
        self._sessions = sessions
        self._tree = tree
        self._created = created

    async def create(self, body: ExecutionCreate) -> ExecutionBody:
        """Store an execution.

        Raises `NotFound`, `Invalid` and `Conflict`; nothing is stored then.
        """
        async with transaction(self._sessions) as session:
            settings = await self._tree.current(session)
            workflow, plan = await _find_workflow_and_plan(session, settings, body)
            row = new_row(_request(settings, workflow, plan, body), datetime.now(UTC))
            await session.execute(tables.executions.insert(), row)
        self._created()
        return _body(row)

    async def list(
        self, caller: Caller, project: str, domain: str, limit: int
    ) -> Sequence[ExecutionBody]:
        """Return executions that the caller may see, newest first, without nodes and resolution."""
        query = sa.select(tables.executions).where(visible_to(caller, _PARTS))
        query = query.order_by(_ROW.created_at.desc(), _ROW.id)
        if project:
            query = query.where(_ROW.project == project)
        if domain:
            query = query.where(_ROW.domain == domain)
        async with transaction(self._reading) as session:
            rows = (await session.execute(query.limit(limit))).mappings().all()
        return [_body(row) for row in rows]

    async def get(self, execution: str) -> ExecutionBody:
        """Return an execution with its nodes and its resolution. Raises `NotFound`."""
        query = sa.select(tables.executions).where(_ROW.id == execution)
        async with transaction(self._reading) as session:
            row = (await session.execute(query)).mappings().one_or_none()
            if row is None:
                raise NotFound("execution", execution)
            state = await stored_state(session, execution)
        request = parse_request(row["request"])
        nodes = _nodes(request.workflow, state) if isinstance(request, Request) else {}
        return _body(row).model_copy(update={"nodes": nodes, "resolution": state.resolution})


async def _find_workflow_and_plan(
    session: AsyncSession, settings: Settings, body: ExecutionCreate
) -> tuple[Workflow, LaunchPlan]:
    """Return what the body names; without a launch plan, the workflow's default one."""
    scope = Scope(body.domain, body.project)
    check_scope(settings, scope)
    check_active(settings.projects[body.project])
    workflow = await find_workflow(session, scope, body.workflow, body.version)
    if body.launch_plan in (None, workflow.name):
        default = LaunchPlan(name=workflow.name, workflow=workflow.name, version=workflow.version)
        return workflow, default
    plan = await find_launch_plan(session, scope, body.launch_plan, workflow.name, body.version)
    if plan.version != workflow.version:
        # The body names no version, and the newest workflow version has no such launch plan.
        workflow = await find_workflow(session, scope, plan.workflow, plan.version)
    return workflow, plan


def _request(
    settings: Settings, workflow: Workflow, plan: LaunchPlan, body: ExecutionCreate
) -> Request:
    """Return everything that propeller needs to run the execution. Raises `Invalid`."""
    workflow.check_hooks("overrides", body.overrides)
    request = Request(
        execution=_new_id(),
        project=body.project,
        domain=body.domain,
        workflow=workflow,
        launch_plan=plan,
        inputs=workflow.bind_inputs({**plan.inputs, **body.inputs}),
        overrides=body.overrides,
        **{name: getattr(body, name) for name in ExecutionConfig.model_fields},
        revision=settings.revision,
    )
    size = len(request.model_dump_json())
    if size > MAX_EVENT_BYTES:
        allowed = f"workflow and inputs of at most {MAX_EVENT_BYTES} bytes together"
        raise Invalid("inputs", f"{size} bytes", allowed)
    return request


def _new_id() -> str:
    """Return a unique id that can be part of a DNS name: a letter, then 75 random bits."""
    return "x" + base64.b32encode(secrets.token_bytes(10)).decode()[:15].lower()


def _nodes(workflow: Workflow, state: State) -> dict[str, NodeBody]:
    bodies = {}
    for node in workflow.nodes:
        reached = state.nodes.get(node.id, NodeState())
        bodies[node.id] = NodeBody(
            task=node.task,
            phase=reached.phase,
            attempt=reached.attempt,
            reason=reached.reason,
            output=reached.output,
        )
    return bodies


def _body(row: Row) -> ExecutionBody:
    request = parse_request(row["request"])
    return ExecutionBody(
        id=row["id"],
        project=row["project"],
        domain=row["domain"],
        workflow=row["workflow"],
        version=row["version"],
        launch_plan=row["launch_plan"],
        phase=row["phase"],
        inputs=request.inputs if isinstance(request, Request) else {},
        output=json.loads(row["output"]),
        error=row["error"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
