"""Expand a workflow: replace each call of a sub-workflow by the calls in it. Pure.

The result has only calls of tasks, so the process that runs it needs no sub-workflows. What is
registered elsewhere is expanded in the same way, from what the caller has looked up.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trimtab import names
from trimtab.errors import Invalid
from trimtab.workflows.graph import (
    MAX_NODES,
    Binding,
    Constant,
    FromInput,
    FromNode,
    Graph,
    Hook,
    LaunchPlan,
    Node,
    Reference,
    Task,
    Workflow,
)
from trimtab.workflows.node_overrides import NO_OVERRIDES, NodeOverrides, merge_overrides
from trimtab.workflows.targets import IN_IMAGE, Function

MAX_DEPTH = 32
"""The most sub-workflows inside each other."""
_MAX_ID_CHARACTERS = 200
"""The most characters of a `Name`."""


class ReferenceKey(NamedTuple):
    """Identifies one registered version."""

    type: str
    project: str
    domain: str
    name: str
    version: str

    @classmethod
    def of(cls, reference: Reference) -> "ReferenceKey":
        return cls(
            reference.type,
            reference.project,
            reference.domain,
            reference.name,
            reference.version,
        )

    def __str__(self) -> str:
        return f"{self.type} {self.project}/{self.domain}/{self.name} version {self.version}"


@dataclass(frozen=True)
class Referenced:
    """The registered objects that a reference names."""

    workflow: Workflow
    """The workflow; for a task, one of the same version that has the task."""
    launch_plan: LaunchPlan | None = None
    """For a launch plan: its inputs and overrides are defaults of the call."""


Registry = Mapping[ReferenceKey, Referenced]
"""All that a workflow refers to, and that those refer to."""

HookDefaults = Sequence[tuple[int, Mapping[str, NodeOverrides]]]
"""Other defaults of hooks, by name or ``path/name``, those of the innermost call first. Each with
the number of calls on the path to the graph that these paths begin in."""


def references(workflow: Workflow) -> list[ReferenceKey]:
    """Return what the workflow itself refers to."""
    return [ReferenceKey.of(reference) for reference in workflow.references.values()]


def expand(workflow: Workflow, registry: Registry | None = None) -> Workflow:
    """Return the workflow with calls of tasks only. It is returned itself if it has no others.

    Raises `Invalid`: for a hook that two nodes have, for a default of a hook that there is not, for
    too many nodes, and for a workflow that calls itself.
    """
    if not workflow.workflows and not workflow.references:
        return workflow
    callee = _Callee(_Scope(workflow, None), "", None)
    expansion = _Expansion(registry or {}, workflow)
    expansion.count(callee)
    inputs = {name: FromInput(name=name) for name in workflow.inputs}
    output = expansion.add_graph(_Call(callee, inputs))
    fields = {
        "nodes": tuple(expansion.nodes),
        "tasks": expansion.tasks,
        "output": None if workflow.output is None else output,
        "workflows": {},
        "references": {},
        "sources": expansion.sources,
    }
    return workflow.model_copy(update=fields)


@dataclass(frozen=True)
class _Scope:
    """One registered workflow, whose tables the names in its graphs refer to."""

    workflow: Workflow
    key: ReferenceKey | None
    """``None`` for the workflow that is expanded."""


class _Callee(NamedTuple):
    """A graph, with the scope of its names."""

    scope: _Scope
    name: str
    """The name of the sub-workflow; empty for the graph of the registered workflow itself."""
    launch_plan: LaunchPlan | None

    @property
    def graph(self) -> Graph:
        return self.scope.workflow.graphs[self.name]

    @property
    def template(self) -> tuple[ReferenceKey | None, str]:
        """Identifies the graph, however often it is called."""
        return self.scope.key, self.name

    def __str__(self) -> str:
        return self.name or self.scope.workflow.name


@dataclass(frozen=True)
class _Call:
    """One call of a graph, and what applies to it."""

    callee: _Callee
    inputs: Mapping[str, Binding]
    path: tuple[str, ...] = ()
    """The ids of the calls that lead to it."""
    overrides: NodeOverrides = NO_OVERRIDES
    """Values of ``with_overrides`` of the calls around its nodes."""
    hook_defaults: HookDefaults = ()

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
        for depth, defaults in self.hook_defaults:
            below = "/".join((*self.path[depth:], name))
            for key in dict.fromkeys((name, below)):
                if key in defaults:
                    default = merge_overrides(default, defaults[key])
        return Hook(name=name, default=default, path="/".join(self.path))


class _Expansion:
    """The nodes and tasks of the result, which grow call by call."""

    def __init__(self, registry: Registry, workflow: Workflow) -> None:
        self._registry = registry
        self.nodes: list[Node] = []
        self.tasks: dict[str, Task] = dict(workflow.tasks)
        self.sources: dict[str, str] = {}
        self._counts: dict[tuple[ReferenceKey | None, str], int] = {}
        self._hooks: dict[str, tuple[_Callee, str]] = {}
        """The graph and the node of each hook."""

    def count(self, callee: _Callee, around: tuple[_Callee, ...] = ()) -> int:
        """Return the number of nodes, before any of them is made. Raises `Invalid`."""
        if callee.template in (each.template for each in around):
            raise Invalid("workflows", str(callee), "a workflow that does not call itself")
        if len(around) > MAX_DEPTH:
            raise Invalid("workflows", str(callee), f"at most {MAX_DEPTH} workflows in each other")
        if callee.template not in self._counts:
            total = 0
            for node in callee.graph.nodes:
                inner = self._callee(callee.scope, node)
                total += 1 if inner is None else self.count(inner, (*around, callee))
                self._check_hooks(callee, node, inner)
            if total > MAX_NODES:
                raise Invalid("nodes", f"{total} nodes in {callee}", f"at most {MAX_NODES} nodes")
            self._counts[callee.template] = total
        return self._counts[callee.template]

    def add_graph(self, call: _Call) -> Binding:
        """Add the nodes of a call, and return the binding of its output."""
        outputs: dict[str, Binding] = {}
        scope, graph = call.callee.scope, call.callee.graph
        for node in graph.nodes:
            inputs = {name: call.bind(each, outputs) for name, each in node.inputs.items()}
            overrides = merge_overrides(call.overrides, node.overrides)
            inner = self._callee(scope, node)
            if inner is None:
                outputs[node.id] = self._add_node(call, node, inputs, overrides)
            else:
                outputs[node.id] = self.add_graph(_inner_call(call, node, inner, inputs, overrides))
        return Constant(value=None) if graph.output is None else call.bind(graph.output, outputs)

    def _add_node(
        self, call: _Call, node: Node, inputs: dict[str, Binding], overrides: NodeOverrides
    ) -> FromNode:
        id_ = call.id_of(node)
        if len(id_) > _MAX_ID_CHARACTERS:
            allowed = f"at most {_MAX_ID_CHARACTERS} characters, the ids of the calls included"
            raise Invalid(f"nodes.{call.path[0]}", id_, allowed)
        fields = {
            "id": id_,
            "task": self._task(call.callee.scope, node),
            "reference": "",
            "inputs": inputs,
            "overrides": overrides,
            "hook": call.hook_of(node),
        }
        self.nodes.append(node.model_copy(update=fields))
        return FromNode(node=id_)

    def _callee(self, scope: _Scope, node: Node) -> _Callee | None:
        """Return the graph that a node calls; ``None`` where it calls a task."""
        if node.workflow:
            return _Callee(scope, node.workflow, None)
        if not node.reference or scope.workflow.references[node.reference].type == "task":
            return None
        key, found = self._find(scope, node)
        return _Callee(_Scope(found.workflow, key), "", found.launch_plan)

    def _find(self, scope: _Scope, node: Node) -> tuple[ReferenceKey, Referenced]:
        key = ReferenceKey.of(scope.workflow.references[node.reference])
        if key not in self._registry:
            raise Invalid(f"references.{node.reference}", str(key), "what is registered")
        return key, self._registry[key]

    def _task(self, scope: _Scope, node: Node) -> str:
        """Return the name in the result of the task that a node calls."""
        if node.task:
            task, workflow = scope.workflow.tasks[node.task], scope.workflow
            if scope.key is None:
                return node.task
        else:
            key, found = self._find(scope, node)
            task, workflow = found.workflow.tasks[key.name], found.workflow
        return self._own_name(self._with_code(task, workflow))

    def _with_code(self, task: Task, workflow: Workflow) -> Task:
        """Return the task with its code named, as it is not that of the result's workflow."""
        if not isinstance(task.target, Function) or task.target.code:
            return task
        code = workflow.bundle
        if not code and workflow.module:
            code = hashlib.sha256(workflow.module.encode()).hexdigest()
            self.sources[code] = workflow.module
        code = code or IN_IMAGE
        name = task.target.name or task.name
        return task.model_copy(
            update={"target": task.target.model_copy(update={"code": code, "name": name})}
        )

    def _own_name(self, task: Task) -> str:
        """Return the name under which the result has the task, which is added if it is new."""
        name, number = task.name, 1
        while self.tasks.setdefault(name, task) != task:
            number += 1
            name = f"{task.name}-{number}"
        return name

    def _check_hooks(self, callee: _Callee, node: Node, inner: _Callee | None) -> None:
        """Raise `Invalid` for a hook that another node has, and for a default of an unknown one."""
        if node.hook is not None:
            other, other_node = self._hooks.setdefault(node.hook.name, (callee, node.id))
            if (other.template, other_node) != (callee.template, node.id):
                allowed = f"a hook that no other node has, and node {other_node} of {other} has it"
                raise Invalid("hook", node.hook.name, allowed)
        plan = None if inner is None else inner.launch_plan
        given = (*node.hooks, *(plan.runtime_override if plan else ()))
        known = {} if inner is None or not given else self.hooks_in(inner)
        for name in given:
            if name not in known:
                listed = ", ".join(known) or f"(there is none in {inner or node.task})"
                allowed = f"the hooks {listed}{names.question(name, known)}"
                raise Invalid(f"nodes.{node.id}.hooks.{name}", name, allowed)

    def hooks_in(self, callee: _Callee) -> dict[str, None]:
        """Return the hooks of a graph: their names, then those with a path."""
        hooks: dict[str, None] = {}
        paths: dict[str, None] = {}
        for node in callee.graph.nodes:
            inner = self._callee(callee.scope, node)
            if inner is not None:
                for name in self.hooks_in(inner):
                    (hooks if "/" not in name else paths).setdefault(name)
                    paths.setdefault(f"{node.id}/{name}")
            elif node.hook is not None:
                hooks.setdefault(node.hook.name)
        return hooks | paths


def _inner_call(
    call: _Call,
    node: Node,
    callee: _Callee,
    inputs: Mapping[str, Binding],
    overrides: NodeOverrides,
) -> _Call:
    """Return the call that a node is. Raises `Invalid` for inputs that its callee does not have."""
    graph, plan = callee.graph, callee.launch_plan
    defaults = {**graph.inputs, **(plan.inputs if plan else {})}
    path = f"nodes.{call.id_of(node)}.inputs"
    for name in inputs:
        if name not in defaults:
            known = ", ".join(defaults) or "(it has none)"
            raise Invalid(f"{path}.{name}", name, f"inputs of {callee}: {known}")
    given = {**(plan.inputs if plan else {}), **inputs}
    if missing := [name for name in graph.required if name not in given]:
        raise Invalid(f"{path}.{missing[0]}", None, f"a value, because {callee} requires it")
    bound = {n: inputs.get(n, Constant(value=value)) for n, value in defaults.items()}
    depth = len(call.path) + 1
    own = [(depth, node.hooks)]
    if plan is not None:
        own.insert(0, (depth, plan.runtime_override))
        every = NodeOverrides(
            environment=plan.environment or None, interruptible=plan.interruptible
        )
        overrides = merge_overrides(every, overrides)
    return _Call(
        callee,
        bound,
        (*call.path, node.id),
        overrides,
        (*(each for each in own if each[1]), *call.hook_defaults),
    )
