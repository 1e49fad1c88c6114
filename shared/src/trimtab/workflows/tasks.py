"""Define tasks: functions, and programs of containers, whose calls in a workflow are nodes."""

from collections.abc import Callable, Mapping
from functools import cached_property, update_wrapper
from typing import Any, Generic, ParamSpec, overload

from trimtab.models import parse_model
from trimtab.workflows import builder, graph
from trimtab.workflows.definitions import place_of, signature_of
from trimtab.workflows.node_overrides import NodeOverrides
from trimtab.workflows.overrides import Pool, Resources, node_overrides
from trimtab.workflows.promises import refuse_promises
from trimtab.workflows.types import FunctionTypes

P = ParamSpec("P")


class PythonTask(Generic[P]):
    """A function whose calls in a workflow are nodes; anywhere else it is just the function."""

    def __init__(
        self, function: Callable[P, object], config: NodeOverrides, pool: Pool | None, weight: int
    ) -> None:
        self.signature = signature_of("task", function)
        update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.place = place_of(function)
        self.pool = pool
        content = {"name": self.name, "config": config, "weight": weight}
        self._definition = parse_model(graph.Task, content | ({"pool": pool.name} if pool else {}))
        # A type without a form in JSON is an error here; the names of others may be defined later.
        FunctionTypes(function)

    @cached_property
    def types(self) -> FunctionTypes:
        return FunctionTypes(self.function)

    @cached_property
    def graph(self) -> graph.Task:
        """The model to register. Raises `Invalid` where a default is not of its type."""
        return self._definition.model_copy(update={"interface": self.types.interface})

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function; in the body of a workflow, add a node and return its promise."""
        graph_builder = builder.active.get()
        if graph_builder is None:
            refuse_promises(self.name, (*args, *kwargs.values()))
            return self.function(*args, **kwargs)
        return graph_builder.add_task(self, *args, **kwargs)


@overload
def task(function: Callable[P, object]) -> PythonTask[P]: ...


@overload
def task(
    *,
    resources: Resources | None = None,
    retries: int | None = None,
    interruptible: bool | None = None,
    container_image: str | None = None,
    environment: Mapping[str, str] | None = None,
    pool: Pool | str | None = None,
    weight: int = 1,
) -> Callable[[Callable[P, object]], PythonTask[P]]: ...


def task(
    function: Callable[P, object] | None = None,
    *,
    resources: Resources | None = None,
    retries: int | None = None,
    interruptible: bool | None = None,
    container_image: str | None = None,
    environment: Mapping[str, str] | None = None,
    pool: Pool | str | None = None,
    weight: int = 1,
) -> PythonTask[P] | Callable[[Callable[P, object]], PythonTask[P]]:
    """Make a function a task. Each attempt takes ``weight`` units of the pool."""
    config = node_overrides(resources, retries, interruptible, container_image, environment)
    task_pool = Pool(pool) if isinstance(pool, str) else pool

    def decorate(decorated: Callable[P, object]) -> PythonTask[P]:
        return PythonTask(decorated, config, task_pool, weight)

    return decorate if function is None else decorate(function)
