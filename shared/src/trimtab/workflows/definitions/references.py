"""Define references: stubs of tasks, workflows and launch plans that are registered elsewhere.

::

    @reference_task(project="shop", domain="production", name="train", version="v3")
    def train(rows: int) -> float: ...

The signature is the interface that the caller expects. It is compared with the registered one when
a workflow that calls it is registered; the body of the stub never runs. Pure.
"""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, Literal, NoReturn, ParamSpec

from trimtab.errors import Rejected
from trimtab.models import parse_model
from trimtab.workflows.definitions import builder
from trimtab.workflows.definitions.functions import place_of, signature_of
from trimtab.workflows.definitions.types import FunctionTypes
from trimtab.workflows.graphs.graph import Reference

P = ParamSpec("P")
ReferenceType = Literal["task", "workflow", "launch_plan"]


class ReferenceFunction(Generic[P]):
    """A stub, whose calls in a workflow are nodes. It cannot be called elsewhere."""

    def __init__(
        self, type_: ReferenceType, function: Callable[P, object], identity: dict[str, str]
    ) -> None:
        self.signature = signature_of(f"reference_{type_}", function)
        update_wrapper(self, function)
        self.type_: ReferenceType = type_
        self.function = function
        self.name = function.__name__
        self.place = place_of(function)
        self.types = FunctionTypes(function)
        content = {**identity, "type": type_, "interface": self.types.interface}
        self.reference = parse_model(Reference, content)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Add a node to the workflow whose body is running. Raises `Rejected` elsewhere."""
        graph_builder = builder.active.get()
        if graph_builder is None:
            self.refuse_to_run()
        return graph_builder.add_reference(self, *args, **kwargs)

    def refuse_to_run(self) -> NoReturn:
        named = self.reference
        type_ = named.type.replace("_", " ")
        raise Rejected(
            f"{self.name} ({self.place}) refers to {type_} {named.name} version {named.version} of "
            f"{named.project}/{named.domain}, which cannot run locally; call it in a workflow that "
            "is registered"
        )


def reference_task(
    *, project: str, domain: str, name: str, version: str
) -> Callable[[Callable[P, object]], ReferenceFunction[P]]:
    """Make a function a stub of a registered task. Raises `Invalid`."""
    return _decorator("task", project, domain, name, version)


def reference_workflow(
    *, project: str, domain: str, name: str, version: str
) -> Callable[[Callable[P, object]], ReferenceFunction[P]]:
    """Make a function a stub of a registered workflow. Raises `Invalid`."""
    return _decorator("workflow", project, domain, name, version)


def reference_launch_plan(
    *, project: str, domain: str, name: str, version: str
) -> Callable[[Callable[P, object]], ReferenceFunction[P]]:
    """Make a function a stub of a registered launch plan. Raises `Invalid`."""
    return _decorator("launch_plan", project, domain, name, version)


def _decorator(
    type_: ReferenceType, project: str, domain: str, name: str, version: str
) -> Callable[[Callable[P, object]], ReferenceFunction[P]]:
    identity = {"project": project, "domain": domain, "name": name, "version": version}

    def decorate(function: Callable[P, object]) -> ReferenceFunction[P]:
        return ReferenceFunction(type_, function, identity)

    return decorate
