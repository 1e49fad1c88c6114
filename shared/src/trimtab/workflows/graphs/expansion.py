"""Expand a workflow: replace each call of a sub-workflow by the calls in it. Pure.

The result has only calls of tasks, so propeller knows nothing of sub-workflows. References are
expanded in the same way, from the registry that the caller has read.

The values of a node's overrides, the most specific first: ``with_overrides`` of the node;
``with_overrides`` of the calls around it, the inner one first. For the default of a hook the outer
call comes first, of one call ``path/name`` before ``name``, then the launch plan that it calls, at
last the node itself.

A call of a launch plan stays known as one of `Workflow.plans`, because its nodes run with the
settings of that launch plan, and with the values that it sets for its executions.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows.graphs.callees import (
    Callee,
    Callees,
    Referenced,
    ReferenceKey,
    Registry,
    Scope,
    references,
)
from trimtab.workflows.graphs.closure_checks import ClosureChecks
from trimtab.workflows.graphs.graph import (
    Binding,
    Constant,
    FromInput,
    FromNode,
    Hook,
    Node,
    Task,
    Workflow,
)
from trimtab.workflows.graphs.launch_plans import (
    MAX_DEPTH,
    ExecutionConfig,
    LaunchPlan,
    PlanCall,
)
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, NodeOverrides, merge_overrides
from trimtab.workflows.graphs.targets import IN_IMAGE, Function

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "ReferenceKey",
    "Referenced",
    "Registry",
    "expand",
    "references",
]

MAX_BYTES = 900 * 1024
"""The most bytes of all nodes and calls of launch plans in JSON: an execution's request has to fit
into one message."""
_BYTES_OF_INPUT = 8
"""The bytes that count for an input of a call, though its node does not use it."""
_MAX_ID_CHARACTERS = 200
"""The most characters of a `Name`."""


def expand(workflow: Workflow, registry: Registry | None = None) -> Workflow:
    """Return the workflow, which is consistent, with calls of tasks only.

    It is returned itself if it has no others. Raises `Invalid`: for a hook that two nodes have, for
    a default of a hook that there is not, for inputs that a callee does not have or requires, for
    too many nodes, and for a workflow that calls itself.
    """
    if not workflow.workflows and not workflow.references:
        return workflow
    callee, callees = Callee(Scope(workflow)), Callees(registry or {})
    ClosureChecks(callees).check(callee)
    expansion = _Expansion(callees, workflow)
    inputs = {name: FromInput(name=name) for name in workflow.inputs}
    output = expansion.add_graph(_Call(callee, inputs))
    fields = {
        "nodes": tuple(expansion.nodes),
        "tasks": expansion.tasks,
        "output": None if workflow.output is None else output,
        "workflows": {},
        "references": {},
        "sources": expansion.sources,
        "plans": expansion.plans,
    }
    return workflow.model_copy(update=fields)


@dataclass(frozen=True)
class _HookDefaults:
    """Other defaults of hooks, by ``name`` or ``path/name``, which one call gives."""

    depth: int
    """The number of calls on the path to the graph that these paths begin in."""
    values: Mapping[str, NodeOverrides]
    used: set[str] = field(default_factory=set)
    """The keys for which there is a hook."""

    def apply(self, default: NodeOverrides, name: str, path: tuple[str, ...]) -> NodeOverrides:
        """Return the default of the hook ``name`` of a node below ``path``."""
        below = "/".join((*path[self.depth :], name))
        for key in dict.fromkeys((name, below)):
            if key in self.values:
                self.used.add(key)
                default = merge_overrides(default, self.values[key])
        return default


@dataclass(frozen=True)
class _Call:
    """One call of a graph, and what applies to it."""

    callee: Callee
    inputs: Mapping[str, Binding]
    path: tuple[str, ...] = ()
    """The ids of the calls that lead to it."""
    overrides: NodeOverrides = NO_OVERRIDES
    """Values of ``with_overrides`` of the calls around its nodes."""
    plan: str = ""
    """The innermost call of a launch plan around its nodes, by its key in `Workflow.plans`."""
    hook_defaults: tuple[_HookDefaults, ...] = ()
    """The values of the innermost call come first."""

    def id_of(self, node: Node) -> str:
        return ".".join((*self.path, node.id))

    def bind(self, binding: Binding, outputs: Mapping[str, Binding]) -> Binding:
        match binding:
            case Constant():
                return binding
            case FromInput():
                return self.inputs[binding.name]
            case FromNode():
                return outputs[binding.node]

    def hook_of(self, node: Node) -> Hook | None:
        """Return the node's hook with the default that the calls around it give it."""
        if node.hook is None:
            return None
        name, default = node.hook.name, node.hook.default
        for defaults in self.hook_defaults:
            default = defaults.apply(default, name, self.path)
        return Hook(name=name, default=default, path="/".join(self.path))


class _Expansion:
    """The nodes and tasks of the result, which grow call by call."""

    def __init__(self, callees: Callees, workflow: Workflow) -> None:
        self._callees = callees
        self.nodes: list[Node] = []
        self.tasks: dict[str, Task] = dict(workflow.tasks)
        self.sources: dict[str, str] = {}
        self.plans: dict[str, PlanCall] = {}
        self._task_names: dict[tuple[ReferenceKey, str], str] = {}
        """Names in the result of the tasks of other registered workflows."""
        self._codes: dict[ReferenceKey, str] = {}
        self._bytes = 0

    def add_graph(self, call: _Call) -> Binding:
        """Add the nodes of a call, and return the binding of its output."""
        outputs: dict[str, Binding] = {}
        scope, graph = call.callee.scope, call.callee.graph
        for node in graph.nodes:
            inputs = {name: call.bind(each, outputs) for name, each in node.inputs.items()}
            callee = self._callees.graph(scope, node)
            if callee is None:
                outputs[node.id] = self._add_node(call, node, inputs)
            else:
                outputs[node.id] = self._add_inner(_inner_call(call, node, callee, inputs), call)
        return Constant(value=None) if graph.output is None else call.bind(graph.output, outputs)

    def _add_inner(self, call: _Call, around: _Call) -> Binding:
        first = len(self.nodes)
        self._count(_BYTES_OF_INPUT * len(call.inputs))
        if call.callee.launch_plan is not None:
            self._add_plan(call, call.callee.launch_plan, around.plan)
        output = self.add_graph(call)
        for defaults in call.hook_defaults:
            if defaults.depth != len(call.path):
                continue
            if unknown := defaults.values.keys() - defaults.used:
                self._refuse_default(call, min(unknown), self.nodes[first:])
        return output

    def _add_plan(self, call: _Call, plan: LaunchPlan, parent: str) -> None:
        key = call.callee.scope.key
        assert key is not None  # only references name launch plans
        fields = {name: getattr(plan, name) for name in ExecutionConfig.model_fields}
        added = PlanCall(
            project=key.project,
            domain=key.domain,
            workflow=plan.workflow,
            launch_plan=plan.name,
            config=ExecutionConfig(**fields),
            parent=parent,
        )
        self._count(len(call.plan) + len(added.model_dump_json()))
        self.plans[call.plan] = added

    def _add_node(self, call: _Call, node: Node, inputs: dict[str, Binding]) -> FromNode:
        id_ = call.id_of(node)
        if len(id_) > _MAX_ID_CHARACTERS:
            allowed = f"at most {_MAX_ID_CHARACTERS} characters, the ids of the calls included"
            raise Invalid(f"nodes.{call.path[0]}", id_, allowed)
        fields = {
            "id": id_,
            "task": self._task(call.callee.scope, node),
            "reference": "",
            "inputs": inputs,
            "overrides": merge_overrides(call.overrides, node.overrides),
            "hook": call.hook_of(node),
            "plan": call.plan,
        }
        added = node.model_copy(update=fields)
        self._count(len(added.model_dump_json()))
        self.nodes.append(added)
        return FromNode(node=id_)

    def _count(self, number: int) -> None:
        """Add to the bytes of the nodes, so that no short text expands to gigabytes.

        Raises `Invalid`.
        """
        self._bytes += number
        if self._bytes > MAX_BYTES:
            raise Invalid("nodes", f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes")

    def _refuse_default(self, call: _Call, name: str, nodes: list[Node]) -> NoReturn:
        """Raise `Invalid` for a default of a hook that none of the nodes has."""
        hooks = [node.hook for node in nodes if node.hook]
        known = dict.fromkeys(hook.name for hook in hooks)
        listed = names.listed(list(known)) or f"(no node in {call.callee} has one)"
        for hook in hooks:
            known["/".join((*hook.path.split("/")[len(call.path) :], hook.name))] = None
        allowed = f"the hooks {listed}{names.question(name, known)}"
        raise Invalid(f"nodes.{'.'.join(call.path)}.hooks.{name}", name, allowed)

    def _task(self, scope: Scope, node: Node) -> str:
        """Return the name in the result of the task that a node calls."""
        owner, name = self._callees.task(scope, node)
        if owner.key is None:
            return name
        found = owner.key, name
        if found not in self._task_names:
            task = self._with_code(owner.workflow.tasks[name], owner.key, owner.workflow)
            self._task_names[found] = self._own_name(task)
        return self._task_names[found]

    def _with_code(self, task: Task, key: ReferenceKey, owner: Workflow) -> Task:
        """Return the task with its code named, as it is not that of the result's workflow."""
        if not isinstance(task.target, Function) or task.target.code:
            return task
        if key not in self._codes:
            self._codes[key] = self._code(owner)
        code, name = self._codes[key], task.target.name or task.name
        return task.model_copy(
            update={"target": task.target.model_copy(update={"code": code, "name": name})}
        )

    def _code(self, workflow: Workflow) -> str:
        if workflow.bundle or not workflow.module:
            return workflow.bundle or IN_IMAGE
        code = hashlib.sha256(workflow.module.encode()).hexdigest()
        self.sources[code] = workflow.module
        return code

    def _own_name(self, task: Task) -> str:
        """Return the name under which the result has the task, which is added if it is new."""
        name, number = task.name, 1
        while self.tasks.setdefault(name, task) != task:
            number += 1
            name = f"{task.name}-{number}"
        return name


def _inner_call(call: _Call, node: Node, callee: Callee, inputs: Mapping[str, Binding]) -> _Call:
    """Return the call that a node is. Raises `Invalid` for inputs that its callee does not have."""
    plan, path = callee.launch_plan, (*call.path, node.id)
    own = [node.hooks] if plan is None else [plan.runtime_override, node.hooks]
    return _Call(
        callee,
        _bound_inputs(f"nodes.{call.id_of(node)}.inputs", callee, inputs),
        path,
        merge_overrides(call.overrides, node.overrides),
        call.plan if plan is None else "/".join(path),
        (*(_HookDefaults(len(path), each) for each in own if each), *call.hook_defaults),
    )


def _bound_inputs(
    path: str, callee: Callee, inputs: Mapping[str, Binding]
) -> Mapping[str, Binding]:
    """Return all inputs of a graph: of the call, else of its launch plan, else its defaults."""
    graph, planned = callee.graph, callee.launch_plan.inputs if callee.launch_plan else {}
    for name in inputs:
        if name not in graph.inputs:
            known = names.listed(list(graph.inputs)) or "(it has none)"
            question = names.question(name, graph.inputs)
            raise Invalid(f"{path}.{name}", name, f"inputs of {callee}: {known}{question}")
    for name in graph.required:
        if name not in inputs and name not in planned:
            raise Invalid(f"{path}.{name}", None, f"a value, because {callee} requires it")
    defaults = {**graph.inputs, **planned}
    return {n: inputs.get(n) or Constant(value=value) for n, value in defaults.items()}
