"""Creates executions with everything that propeller needs, and reads them with their state."""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.api.executions import ExecutionBody, ExecutionCreate, NodeBody
from trimtab.blobs import resolutions as stored
from trimtab.blobs.port import BlobStore
from trimtab.blobs.resolutions import UnreadableResolution
from trimtab.errors import Conflict, NotFound, Unavailable
from trimtab.levels import Scope
from trimtab.messages.executions import NodeState, Request, State
from trimtab.messages.resolutions import Resolution
from trimtab.workflows.graphs.expansion import Registry
from trimtab.workflows.graphs.graph import Workflow
from trimtab.workflows.graphs.launch_plans import ExecutionConfig, LaunchPlan
from trimtab_admin import slices
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.executions import (
    closures,
    cluster_label_checks,
    metadata_limits,
    override_limits,
    override_policies,
    override_types,
    sizes,
    states,
)
from trimtab_admin.executions.dry_runs import DryRuns
from trimtab_admin.executions.projection import new_row
from trimtab_admin.executions.references import find_referenced
from trimtab_admin.executions.target_settings import TargetSettings, called_targets
from trimtab_admin.executions.versions import find_launch_plan, find_workflow, repeated
from trimtab_admin.executions.waits import ExecutionWaits
from trimtab_admin.settings.entities import check_active, check_scope
from trimtab_admin.storage import tables, visibility
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tree import Tree
from trimtab_admin.storage.visibility import visible_to

Row = Mapping[Any, Any]
"""A row of the table by column; `sqlalchemy.RowMapping` has the same type."""
Warnings = tuple[str, ...]

_ROW = tables.executions.c
_STATE = tables.execution_states.c
_LISTED = tuple(column for column in _ROW if column is not _ROW.request)


class Executions:
    """Creates, lists and reads executions."""

    def __init__(
        self,
        reading: Sessions,
        sessions: Sessions,
        tree: Tree,
        created: Callable[[], None],
        waits: ExecutionWaits,
        dry_runs: DryRuns,
        blobs: Callable[[], BlobStore],
    ) -> None:
        """``created`` is called after an execution was stored, to have it requested.

        ``blobs`` returns the blob store, or raises `trimtab.errors.Unavailable`.
        """
        self._reading = reading
        self._sessions = sessions
        self._tree = tree
        self._created = created
        self._waits = waits
        self._dry_runs = dry_runs
        self._blobs = blobs

    async def create(
        self, body: ExecutionCreate, key: str | None, caller: Caller
    ) -> tuple[ExecutionBody, bool, Warnings]:
        """Store an execution; return it, whether this call created it, and the warnings.

        The warnings are about values over limits, which are lowered at the admission. A call with
        the ``key`` of an earlier one, and with the same body, returns the execution of the earlier
        one. Raises `NotFound`, `Invalid` and `Conflict`; nothing is stored then.
        """
        # Another admin may store the key meanwhile.
        return await repeated(lambda: self._create(body, key, caller))

    async def _create(
        self, body: ExecutionCreate, key: str | None, caller: Caller
    ) -> tuple[ExecutionBody, bool, Warnings]:
        async with transaction(self._reading) as session:
            if key is not None and (found := await _find_by_key(session, body, key)):
                return found, False, ()
            sources = await _find_sources(session, self._tree, body, caller)
        # What was found never changes, so it is expanded while no transaction waits.
        now = datetime.now(UTC)
        request, warnings = await asyncio.to_thread(_request, sources, body, caller, now)
        row = new_row(request, now)
        row |= {"idempotency_key": key, "body_hash": key and _hash(body)}
        async with transaction(self._sessions) as session:
            if key is not None and (found := await _find_by_key(session, body, key)):
                return found, False, ()
            settings = await self._tree.current(session)
            check_active(settings.projects[body.project])
            await session.execute(tables.executions.insert(), row)
        self._created()
        return _body(row, request.inputs), True, warnings

    async def check(
        self, body: ExecutionCreate, caller: Caller, node: str = ""
    ) -> tuple[ExecutionBody, Warnings]:
        """Return the execution that `create` would store, without an id, and the warnings.

        It has the resolution, and the pod of the node where one is named. Raises what `create` and
        `DryRuns.resolve` would.
        """
        async with transaction(self._reading) as session:
            sources = await _find_sources(session, self._tree, body, caller)
        now = datetime.now(UTC)
        request, warnings = await asyncio.to_thread(_request, sources, body, caller, now)
        reply = await self._dry_runs.resolve(request, node)
        row = new_row(request, now)
        more = {"id": "", "resolution": reply.resolution, "pod": reply.pod}
        return _body(row, request.inputs).model_copy(update=more), warnings

    async def list(
        self, caller: Caller, project: str, domain: str, limit: int
    ) -> Sequence[ExecutionBody]:
        """Return executions that the caller may see, newest first, without nodes and resolution."""
        query = sa.select(*_LISTED).where(visible_to(caller, visibility.EXECUTIONS))
        query = query.order_by(_ROW.created_at.desc(), _ROW.id)
        if project:
            query = query.where(_ROW.project == project)
        if domain:
            query = query.where(_ROW.domain == domain)
        async with transaction(self._reading) as session:
            rows = (await session.execute(_with_state(query.limit(limit)))).mappings().all()
            inputs = await _inputs(session, rows)
            positions = await _positions(session, rows)
        bodies = [_body(row, inputs[row["id"]], positions.get(row["id"])) for row in rows]
        return [self._with_reason(body) for body in bodies]

    async def get(self, execution: str, caller: Caller, node: str = "") -> ExecutionBody:
        """Return an execution with its nodes and its resolution, or with one node of them.

        Raises `NotFound`, also for one that the caller may not see: the id has no scope, so
        another error would disclose that it exists.
        """
        is_visible = visible_to(caller, visibility.EXECUTIONS)
        query = sa.select(*_LISTED, _ROW.request).where(_ROW.id == execution, is_visible)
        query = _with_state(query)
        async with transaction(self._reading) as session:
            row = (await session.execute(query)).mappings().one_or_none()
            if row is None:
                raise NotFound("execution", execution)
            state = await states.read(session, execution)
            position = (await _positions(session, [row])).get(execution)
        content = _content(row["request"])
        resolution, problem = await self._resolution(state)
        more = _explained(await _nodes(content, state), resolution, node)
        more |= {"resolution_problem": problem}
        body = _body(row, _inputs_in(content), position).model_copy(update=more)
        return self._with_reason(body)

    async def _resolution(self, state: State) -> tuple[Resolution | None, str]:
        """Return the resolution, or why it cannot be shown; neither before the admission."""
        if state.resolution_blob is None:
            return state.resolution, ""
        try:
            return await stored.load(self._blobs(), state.resolution_blob), ""
        except UnreadableResolution as error:
            return None, str(error)
        except Unavailable as error:
            return None, f"the resolution cannot be read at present: {error}"

    def _with_reason(self, body: ExecutionBody) -> ExecutionBody:
        """Add why no propeller claims the execution, if it is not claimed."""
        if body.position is None or not (reason := self._waits.reason(body.project, body.domain)):
            return body
        return body.model_copy(update={"reason": reason})


async def _find_by_key(
    session: AsyncSession, body: ExecutionCreate, key: str
) -> ExecutionBody | None:
    """Return the execution that was created with the key.

    Raises `Conflict` if it was created with another body.
    """
    scope = sa.and_(_ROW.project == body.project, _ROW.domain == body.domain)
    query = _with_state(sa.select(*_LISTED).where(scope, _ROW.idempotency_key == key))
    row = (await session.execute(query)).mappings().one_or_none()
    if row is None:
        return None
    if row["body_hash"] != _hash(body):
        raise Conflict(
            f"Idempotency-Key {key!r} was used in {body.project}/{body.domain} with another body: "
            f"it created execution {row['id']}; a new execution needs a new key"
        )
    inputs, positions = await _inputs(session, [row]), await _positions(session, [row])
    return _body(row, inputs[row["id"]], positions.get(row["id"]))


def _hash(body: ExecutionCreate) -> str:
    """Return a hash of what the body sets, the same for each release and order of keys."""
    content = body.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


async def _positions(session: AsyncSession, rows: Sequence[Row]) -> Mapping[str, int]:
    """Return the position of each execution that no propeller has claimed yet; 1 is next.

    It is counted among those of its project and domain, in the order in which they were created.
    """
    waiting = [row for row in rows if row["phase"] == "requested"]
    if not waiting:
        return {}
    number = sa.func.row_number().over(
        partition_by=(_ROW.project, _ROW.domain), order_by=(_ROW.created_at, _ROW.id)
    )
    queues = {(row["project"], row["domain"]) for row in waiting}
    queue = sa.select(_ROW.id, number.label("position")).where(
        _ROW.phase == "requested", sa.tuple_(_ROW.project, _ROW.domain).in_(sorted(queues))
    )
    numbered = queue.subquery()
    query = sa.select(numbered).where(numbered.c.id.in_([row["id"] for row in waiting]))
    return {row.id: row.position for row in await session.execute(query)}


def _with_state(query: sa.Select[Any]) -> sa.Select[Any]:
    """Add when the last event was appended; null where no event is projected."""
    query = query.add_columns(_STATE.updated_at.label("moved_at"))
    return query.outerjoin_from(
        tables.executions, tables.execution_states, _STATE.execution == _ROW.id
    )


class _Sources(NamedTuple):
    """The parts of a request. None of them changes, so that a thread can read them."""

    workflow: Workflow
    registry: Registry
    plan: LaunchPlan
    settings: TargetSettings


async def _find_sources(
    session: AsyncSession, tree: Tree, body: ExecutionCreate, caller: Caller
) -> _Sources:
    """Return what the body names. Raises `NotFound`, `Conflict`, `Invalid` and `Unreadable`."""
    settings, scope = await tree.current(session), Scope(body.domain, body.project)
    check_scope(settings, scope)
    check_active(settings.projects[body.project])
    workflow, plan = await _find_workflow_and_plan(session, scope, body, caller)
    registry = await find_referenced(session, workflow)
    narrow = "" if plan.name == workflow.name else plan.name
    target = Scope(body.domain, body.project, workflow.name, narrow)
    cluster_label_checks.check(body, plan, settings, target)
    of_targets = TargetSettings.of(settings, target, called_targets(registry))
    return _Sources(workflow, registry, plan, of_targets)


async def _find_workflow_and_plan(
    session: AsyncSession, scope: Scope, body: ExecutionCreate, caller: Caller
) -> tuple[Workflow, LaunchPlan]:
    """Return what the body names; without a launch plan, the workflow's default one."""
    workflow = await find_workflow(session, scope, body.workflow, body.version, caller)
    if body.launch_plan in (None, workflow.name):
        default = LaunchPlan(name=workflow.name, workflow=workflow.name, version=workflow.version)
        return workflow, default
    plan = await find_launch_plan(
        session, scope, body.launch_plan, workflow.name, body.version, caller
    )
    if plan.version != workflow.version:
        # The body names no version, and the newest workflow version has no such launch plan.
        workflow = await find_workflow(session, scope, plan.workflow, plan.version, caller)
    return workflow, plan


def _request(
    sources: _Sources, body: ExecutionCreate, caller: Caller, now: datetime
) -> tuple[Request, Warnings]:
    """Return everything that propeller needs to run the execution, and the warnings.

    Raises `Invalid`.
    """
    plan, settings = sources.plan, sources.settings
    workflow = closures.expand_checked(sources.workflow, sources.registry)
    workflow.check_hooks("overrides", body.overrides)
    override_types.check(workflow, plan, body.overrides)
    override_policies.check(workflow, plan, body.overrides, settings.effective["pod_policy"])
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
        by_platform_admin=caller.may(Role.ADMIN),
        created_at=now,
    )
    limits = override_limits.limits_of(settings)
    warnings = override_limits.check(workflow, plan, body.overrides, limits)
    metadata_limits.check(request, settings)
    sizes.check(request, settings)
    return request, warnings


def _new_id() -> str:
    """Return a unique id that can be part of a DNS name: a letter, then 75 random bits."""
    return "x" + base64.b32encode(secrets.token_bytes(10)).decode()[:15].lower()


def _content(request: str) -> Mapping[str, Any]:
    """Return a request as it is stored: no more is parsed of it than is shown."""
    content = json.loads(request)
    return content if isinstance(content, dict) else {}


def _inputs_in(content: Mapping[str, Any]) -> dict[str, JsonValue]:
    inputs = content.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


async def _inputs(session: AsyncSession, rows: Sequence[Row]) -> Mapping[str, dict[str, JsonValue]]:
    """Return the inputs by execution, from the requests where the rows do not hold them."""
    inputs = {row["id"]: json.loads(row["inputs"]) for row in rows if row["inputs"] is not None}
    others = [row["id"] for row in rows if row["id"] not in inputs]
    requests = await session.execute(sa.select(_ROW.id, _ROW.request).where(_ROW.id.in_(others)))
    return inputs | {id_: _inputs_in(_content(request)) for id_, request in requests}


async def _nodes(content: Mapping[str, Any], state: State) -> dict[str, NodeBody]:
    """Return the nodes in the order of the workflow; none of a request of another release."""
    bodies = {}
    async for part in slices.of(_nodes_in(content)):
        for id_, task in part:
            reached = state.nodes.get(id_, NodeState())
            bodies[id_] = NodeBody(
                task=task,
                phase=reached.phase,
                attempt=reached.attempt,
                reason=reached.reason,
                output=reached.output,
            )
    return bodies


def _nodes_in(content: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    try:
        return [(node["id"], node["task"]) for node in content["workflow"]["nodes"]]
    except (KeyError, TypeError):
        return []


def _explained(
    nodes: dict[str, NodeBody], resolution: Resolution | None, node: str
) -> dict[str, Any]:
    """Return the nodes and the resolution, or the part of one node. Raises `NotFound`."""
    if not node:
        return {"nodes": nodes, "resolution": resolution}
    if node not in nodes:
        raise NotFound.among("node of the execution", node, nodes)
    if resolution is not None:
        of_node = {node: resolution.nodes[node]} if node in resolution.nodes else {}
        resolution = resolution.model_copy(update={"nodes": of_node})
    return {"nodes": {node: nodes[node]}, "resolution": resolution}


def _body(row: Row, inputs: dict[str, JsonValue], position: int | None = None) -> ExecutionBody:
    return ExecutionBody(
        id=row["id"],
        project=row["project"],
        domain=row["domain"],
        workflow=row["workflow"],
        version=row["version"],
        launch_plan=row["launch_plan"],
        phase=row["phase"],
        position=position,
        inputs=inputs,
        output=json.loads(row["output"]),
        error=row["error"],
        created_at=row["created_at"],
        updated_at=row.get("moved_at") or row["updated_at"],
    )
