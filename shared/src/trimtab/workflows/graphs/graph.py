"""Models of registered workflows: tasks, nodes, hooks and launch plans. Pure.

The code of the tasks is the text of one Python module, which is stored with the workflow, or a
bundle of modules, which the workflow names by its hash. So an execution runs the code that was
registered, even if the files change or disappear.
"""

import re
from collections.abc import Collection, Mapping
from operator import not_
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from trimtab import names
from trimtab.errors import Invalid
from trimtab.models import MAX_UNITS, DnsLabel, Integer, Model, Name
from trimtab.texts import DATA
from trimtab.workflows.graphs import command_templates
from trimtab.workflows.graphs.launch_plans import PlanCall, check_calls
from trimtab.workflows.graphs.node_overrides import NO_OVERRIDES, NodeOverrides
from trimtab.workflows.graphs.runtimes import RuntimeMetadata
from trimtab.workflows.graphs.targets import Function, TaskTarget
from trimtab.workflows.values import checking
from trimtab.workflows.values.schemas import check_schema

MAX_NODES = 5000
"""The most nodes of a workflow, whose sub-workflows are expanded."""
MAX_LISTED_HOOKS = 100
"""How many hooks a message lists."""

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,199}")
"""The ids of nodes and executions, because executors make directories and pods of them."""
ID_RULE = "at most 200 letters, digits and _ . - after a letter or digit"

Schema = Annotated[dict[str, JsonValue], DATA]
"""A type of values: a JSON Schema of the keywords that `checking.check` knows."""

# A workflow of `MAX_NODES` nodes fits into a message because no default is written.
_OWN_FUNCTION = Function()


def _is_absent(value: object) -> bool:
    return value is None


def _is_empty(overrides: NodeOverrides) -> bool:
    return overrides.is_empty


def _is_python(type_: str) -> bool:
    return type_ == "python"


def _is_own_function(target: TaskTarget) -> bool:
    return target == _OWN_FUNCTION


def _is_any(interface: "Interface") -> bool:
    return not interface.model_fields_set


def _check_template(
    path: str, target: TaskTarget, overrides: NodeOverrides, inputs: Collection[str] | None
) -> None:
    if (template := overrides.pod_template) is not None:
        variables = command_templates.of_template(target, template)
        command_templates.check(f"{path}.pod_template", variables, inputs)


def _known(name: str, known: Collection[str], nothing: str = "there are none") -> str:
    """Return the known names for a message, of many only the first ones and the nearest."""
    return (names.listed(list(known)) or f"({nothing})") + names.question(name, known)


class Interface(Model):
    """The types of what a task or a workflow takes and returns, as JSON Schemas.

    A schema without keywords allows every value.
    """

    inputs: Annotated[dict[str, Schema], DATA] = {}
    required: tuple[str, ...] = ()
    """Names of inputs that have no default."""
    output: Schema = {}

    def check(self, path: str, inputs: str = "inputs", output: str = "output") -> None:
        """Check each schema. Raises `Invalid`, which names the fields as the caller does."""
        for name, schema in self.inputs.items():
            check_schema(f"{path}{inputs}.{name}", schema)
        check_schema(f"{path}{output}", self.output)


class Task(Model):
    """A function, a container or a pod that nodes run."""

    name: Name
    type: str = Field(default="python", min_length=1, max_length=100, exclude_if=_is_python)
    """The type of the task, such as ``python`` or ``container``; an override cannot change it."""
    target: TaskTarget = Field(default=_OWN_FUNCTION, exclude_if=_is_own_function)
    interface: Interface = Field(default=Interface(), exclude_if=_is_any)
    config: NodeOverrides = NodeOverrides()
    """Values from the definition of the task."""
    pool: str | None = None
    """The pool of which each attempt holds a token while it runs."""
    weight: Integer = Field(default=1, ge=1, le=MAX_UNITS)
    """Units of the pool that one attempt takes."""
    digest: str = Field(default="", exclude_if=not_)
    """The SHA-256 of all code that the task can import from its bundle, and of its definition."""


class Constant(Model):
    """A value written in the workflow."""

    type: Literal["constant"] = "constant"
    value: Annotated[JsonValue, DATA]


class FromInput(Model):
    """An input of the workflow."""

    type: Literal["input"] = "input"
    name: str


class FromNode(Model):
    """The value that another node returned."""

    type: Literal["node"] = "node"
    node: str


Binding = Annotated[Constant | FromInput | FromNode, Field(discriminator="type")]


class Hook(Model):
    """The name under which executions and launch plans may override a node."""

    name: Name
    default: NodeOverrides = NO_OVERRIDES
    path: str = Field(default="", exclude_if=not_)
    """In a workflow whose sub-workflows are expanded: the ids of the calls that lead to the node,
    such as ``n1/n0``. ``path/name`` overrides this node only."""

    @property
    def full_name(self) -> str:
        return f"{self.path}/{self.name}" if self.path else self.name


class Reference(Model):
    """The name of one version that is registered elsewhere, and never changes."""

    type: Literal["task", "workflow", "launch_plan"]
    project: DnsLabel
    domain: DnsLabel
    name: Name
    version: str = Field(min_length=1, max_length=128)
    interface: Interface = Field(default=Interface(), exclude_if=_is_any)
    """The types that the calling workflow expects; compared where that one is registered."""


class Node(Model):
    """One call of a task, of a sub-workflow, or of what is registered elsewhere."""

    id: Name
    """``n0``, ``n1``, … in the order of the calls, or what the workflow's author has chosen. It is
    part of paths, names of pods and keys."""
    task: str = Field(default="", exclude_if=not_)
    """One of the workflow's `tasks`. Either this, or one of the next two is set."""
    workflow: str = Field(default="", exclude_if=not_)
    """One of the workflow's `workflows`."""
    reference: str = Field(default="", exclude_if=not_)
    """One of the workflow's `references`."""
    inputs: dict[str, Binding]
    overrides: NodeOverrides = Field(default=NO_OVERRIDES, exclude_if=_is_empty)
    """Values of ``with_overrides``, fixed at registration. Those of a call of a workflow apply to
    each task in it that does not set the field by ``with_overrides`` itself."""
    hook: Hook | None = Field(default=None, exclude_if=_is_absent)
    hooks: dict[str, NodeOverrides] = Field(default={}, exclude_if=not_)
    """For the call of a workflow: other defaults of hooks in it, by name or ``path/name``."""
    plan: str = Field(default="", exclude_if=not_)
    """In an expanded workflow: the innermost call of a launch plan that the node is in, by its key
    in `Workflow.plans`."""

    @property
    def waits_for(self) -> frozenset[str]:
        """Ids of the nodes whose outputs are inputs of this one."""
        return frozenset(b.node for b in self.inputs.values() if isinstance(b, FromNode))


InputType = Literal["string", "integer", "number", "boolean", "array", "object"]
"""A type of JSON Schema."""


class Graph(Model):
    """The inputs, calls and output of a workflow."""

    inputs: Annotated[dict[str, JsonValue], DATA] = {}
    """Defaults by name of input; ``None`` for an input in `required`."""
    required: tuple[str, ...] = ()
    """Names of inputs that have no default."""
    input_types: dict[str, InputType] = Field(default={}, exclude_if=not_)
    """Types by name of input, as releases before `schemas` registered them. Null is allowed too."""
    schemas: Annotated[dict[str, Schema], DATA] = Field(default={}, exclude_if=not_)
    """Declared types by name of input; inputs without one take any value."""
    output_schema: Schema = Field(default={}, exclude_if=not_)
    nodes: tuple[Node, ...] = Field(min_length=1)
    """Ordered so that each node comes after the nodes that it waits for."""
    output: Binding | None = None

    @property
    def interface(self) -> Interface:
        return Interface(inputs=self.schemas, required=self.required, output=self.output_schema)

    def schema_of(self, name: str) -> dict[str, JsonValue]:
        """Return the type of an input; without keywords where none is declared."""
        if name not in self.schemas and (type_ := self.input_types.get(name)):
            return {"type": [type_, "null"]}
        return self.schemas.get(name, {})

    def check_graph(self, path: str, callees: "Workflow") -> None:
        """Check that every name refers to something, once. Raises `Invalid`."""
        for field in ("required", "input_types", "schemas"):
            for name in getattr(self, field):
                if name not in self.inputs:
                    raise Invalid(path + field, name, f"inputs {_known(name, self.inputs)}")
        seen: set[str] = set()
        for index, node in enumerate(self.nodes):
            at = f"{path}nodes.{index}"
            if not ID.fullmatch(node.id):
                raise Invalid(f"{at}.id", node.id, ID_RULE)
            if node.id in seen:
                raise Invalid(f"{at}.id", node.id, "an id that no other node has")
            callees.check_callee(at, node)
            callees.check_templates_of(at, node)
            for name, binding in node.inputs.items():
                self._check_binding(f"{at}.inputs.{name}", binding, seen)
            seen.add(node.id)
        if self.output:
            self._check_binding(f"{path}output", self.output, seen)

    def check_types(self, path: str, steps: checking.Steps) -> None:
        """Check the schemas, and that each default is of its type. Raises `Invalid`."""
        self.interface.check(path, "schemas", "output_schema")
        for name, schema in self.schemas.items():
            if name not in self.required:
                checking.check(f"{path}inputs.{name}", self.inputs[name], schema, steps)

    def _check_binding(self, path: str, binding: Any, before: set[str]) -> None:
        if isinstance(binding, FromNode) and binding.node not in before:
            raise Invalid(path, binding.node, "a node that comes before this one")
        if isinstance(binding, FromInput) and binding.name not in self.inputs:
            raise Invalid(path, binding.name, f"an input: {_known(binding.name, self.inputs)}")


class Workflow(Graph):
    """One registered version of a workflow.

    An execution runs an expanded one, in which each node calls a task: `expansion.expand`.
    """

    name: Name
    version: str = Field(min_length=1, max_length=128)
    tasks: dict[str, Task]
    workflows: dict[str, Graph] = Field(default={}, exclude_if=not_)
    """Sub-workflows by name, each traced once, however often it is called."""
    references: dict[str, Reference] = Field(default={}, exclude_if=not_)
    module: Annotated[str, DATA] = ""
    """Source text of the Python module that defines the tasks; empty with a bundle or an image."""
    bundle: str = Field(default="", exclude_if=not_)
    """The SHA-256 of the bundle of Python modules that define the tasks. Without text and bundle,
    the code of each task is in its image."""
    sources: Annotated[dict[str, str], DATA] = Field(default={}, exclude_if=not_)
    """In an expanded workflow: texts of other workflows' modules, by their SHA-256."""
    plans: dict[str, PlanCall] = Field(default={}, exclude_if=not_)
    """In an expanded workflow: calls of launch plans by the ids of the calls, such as ``n1/n0``.
    Each one comes after the one that it is in."""
    runtime: RuntimeMetadata | None = Field(default=None, exclude_if=_is_absent)

    @property
    def graphs(self) -> dict[str, Graph]:
        """The workflow's own graph under the empty name, and those of its sub-workflows."""
        return {"": self, **self.workflows}

    @property
    def hooks(self) -> dict[str, tuple[Node, ...]]:
        """Nodes by the name of their hook: several only where a sub-workflow was expanded twice."""
        found: dict[str, list[Node]] = {}
        for graph in self.graphs.values():
            for node in graph.nodes:
                if node.hook:
                    found.setdefault(node.hook.name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @property
    def full_hook_names(self) -> frozenset[str]:
        """The names of hooks with the paths to their nodes, in an expanded workflow."""
        return frozenset(node.hook.full_name for node in self.nodes if node.hook)

    def check(self) -> None:
        """Check that every name refers to something, once. Raises `Invalid`."""
        if len(self.nodes) > MAX_NODES:
            raise Invalid("nodes", f"{len(self.nodes)} nodes", f"at most {MAX_NODES} nodes")
        if "" in self.workflows:
            raise Invalid("workflows", "", "a name that is not empty, as no node calls this one")
        for field in ("tasks", "references"):
            for name, callee in getattr(self, field).items():
                callee.interface.check(f"{field}.{name}.interface.")
        self._check_templates()
        hooks, steps = set[str](), checking.Steps()
        for name, graph in self.graphs.items():
            path = f"workflows.{name}." if name else ""
            graph.check_graph(path, self)
            graph.check_types(path, steps)
            for index, node in enumerate(graph.nodes):
                if node.hook is None:
                    continue
                if node.hook.full_name in hooks:
                    raise Invalid(
                        f"{path}nodes.{index}.hook", node.hook.name, "a hook that no other node has"
                    )
                hooks.add(node.hook.full_name)

    def _check_templates(self) -> None:
        """Raise `Invalid` on a template in a command that nothing can replace."""
        for name, task in self.tasks.items():
            known = None if _is_any(task.interface) else task.interface.inputs
            variables = command_templates.of_target(task.target)
            command_templates.check(f"tasks.{name}.target", variables, known)
            _check_template(f"tasks.{name}.config", task.target, task.config, known)

    def check_templates_of(self, path: str, node: Node) -> None:
        """Raise `Invalid` on a template in a pod of the node's own that nothing can replace."""
        if node.task:
            target, inputs = self.tasks[node.task].target, node.inputs
            _check_template(f"{path}.overrides", target, node.overrides, inputs)
            if node.hook is not None:
                _check_template(f"{path}.hook.default", target, node.hook.default, inputs)

    def check_plans(self) -> None:
        """Raise `Invalid` where an expanded node names no call, or a call is not possible."""
        check_calls(self.plans)
        for index, node in enumerate(self.nodes):
            if node.plan and node.plan not in self.plans:
                raise Invalid(f"nodes.{index}.plan", node.plan, "one of the calls in plans")

    def check_callee(self, path: str, node: Node) -> None:
        """Raise `Invalid` where a node does not call exactly one thing that there is."""
        callees: dict[str, tuple[str, Collection[str]]] = {
            "task": (node.task, self.tasks),
            "workflow": (node.workflow, self.workflows),
            "reference": (node.reference, self.references),
        }
        given = [field for field, (name, _) in callees.items() if name]
        if len(given) != 1:
            raise Invalid(path, " and ".join(given), "one of task, workflow and reference")
        name, known = callees[given[0]]
        if name not in known:
            raise Invalid(f"{path}.{given[0]}", name, _known(name, known))
        self._check_hooks_of(path, node)

    def _check_hooks_of(self, path: str, node: Node) -> None:
        """Raise `Invalid` for a hook that would have no effect."""
        type_ = self.references[node.reference].type if node.reference else ""
        calls_task = bool(node.task) or type_ == "task"
        if node.hook and not calls_task:
            allowed = "no hook, because the node calls a workflow; its `hooks` are those in it"
            raise Invalid(f"{path}.hook", node.hook.name, allowed)
        if node.hooks and calls_task:
            allowed = "no other hooks, because the node calls a task; `hook` is its own"
            raise Invalid(f"{path}.hooks", next(iter(node.hooks)), allowed)

    def check_hooks(self, path: str, overrides: Mapping[str, NodeOverrides]) -> None:
        """Raise `Invalid` on a name that is not a hook of the workflow, which is expanded."""
        known: set[str] = {*self.hooks, *self.full_hook_names} if overrides else set()
        for name in overrides:
            if name not in known:
                question = names.question(name, known)
                raise Invalid(f"{path}.{name}", name, f"the hooks {self._hook_list()}{question}")

    def _hook_list(self) -> str:
        """Return the names of hooks, each with those that have a path if it has several nodes."""
        listed: list[str] = []
        for name, nodes in self.hooks.items():
            listed.append(name)
            if len(nodes) > 1:
                listed += [node.hook.full_name for node in nodes if node.hook]
        text = ", ".join(listed[:MAX_LISTED_HOOKS]) or "(no node of the workflow has a hook)"
        others = len(listed) - MAX_LISTED_HOOKS
        return f"{text} and {others} more" if others > 0 else text

    def bind_inputs(self, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the inputs of an execution, defaults filled in. Raises `Invalid`."""
        self.check_inputs("inputs", given)
        if missing := [name for name in self.required if name not in given]:
            allowed = f"a value, because {self.name} requires {names.listed(missing)}"
            raise Invalid(f"inputs.{missing[0]}", None, allowed)
        return {**self.inputs, **given}

    def check_inputs(self, path: str, given: Mapping[str, JsonValue]) -> None:
        """Raise `Invalid` on an input that there is not, and on a value of another type."""
        steps = checking.Steps()
        for name, value in given.items():
            self.check_input(name, value, path)
            checking.check(f"{path}.{name}", value, self.schema_of(name), steps)

    def check_input(self, name: str, value: object, path: str = "inputs") -> None:
        """Raise `Invalid` where the workflow has no such input."""
        if name not in self.inputs:
            allowed = f"inputs {_known(name, self.inputs, 'the workflow has none')}"
            raise Invalid(f"{path}.{name}", value, allowed)
