"""Define tasks: functions, and programs of images, whose calls in a workflow are nodes. Pure."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, update_wrapper
from inspect import Parameter, Signature
from typing import Any, Generic, NoReturn, ParamSpec, Unpack, overload

from trimtab.errors import Invalid, Rejected
from trimtab.models import parse_model
from trimtab.workflows.definitions import builder
from trimtab.workflows.definitions.containers import Container
from trimtab.workflows.definitions.functions import calling_place, place_of, signature_of
from trimtab.workflows.definitions.overrides import check_arguments
from trimtab.workflows.definitions.promises import refuse_promises
from trimtab.workflows.definitions.resources import Resources
from trimtab.workflows.definitions.task_arguments import (
    ContainerTaskArguments,
    TaskArguments,
    TaskDefinition,
)
from trimtab.workflows.definitions.types import FunctionTypes
from trimtab.workflows.graphs import graph

P = ParamSpec("P")


class PythonTask(Generic[P]):
    """A function whose calls in a workflow are nodes; anywhere else it is just the function."""

    def __init__(self, function: Callable[P, object], definition: TaskDefinition) -> None:
        self.signature = signature_of("task", function)
        update_wrapper(self, function)
        self.function = function
        self.name = definition.name(function.__name__)
        self.place = place_of(function)
        self.pool = definition.pool
        self._definition = parse_model(graph.Task, definition.content(function.__name__))
        # A type without a form in JSON is an error here; the names of others may be defined later.
        self._first_types = FunctionTypes(function)

    @cached_property
    def types(self) -> FunctionTypes:
        first = self._first_types
        return first if first.is_complete else FunctionTypes(self.function)

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
    **arguments: Unpack[TaskArguments],
) -> Callable[[Callable[P, object]], PythonTask[P]]: ...


def task(
    function: Callable[P, object] | None = None, **arguments: Unpack[TaskArguments]
) -> PythonTask[P] | Callable[[Callable[P, object]], PythonTask[P]]:
    """Make a function a task, with the arguments of `TaskArguments`. Raises `Invalid`."""
    definition = TaskDefinition(arguments)

    def decorate(decorated: Callable[P, object]) -> PythonTask[P]:
        return PythonTask(decorated, definition)

    return decorate if function is None else decorate(function)


class ContainerTask(PythonTask[...]):
    """A program of an image, which is called in workflows like a function and has no body.

    Raises `Invalid`.
    """

    def __init__(
        self,
        name: str,
        image: str,
        command: Sequence[str] = (),
        inputs: Mapping[str, Any] | None = None,
        outputs: Any = None,
        *,
        arguments: Sequence[str] = (),
        resources: Resources | None = None,
        environment: Mapping[str, str] | None = None,
        **others: Unpack[ContainerTaskArguments],
    ) -> None:
        """``inputs`` are types by name, and ``outputs`` is the type of the output."""
        container = Container(
            image, command, arguments, resources or Resources(), environment or {}
        )
        check_arguments(others, ContainerTaskArguments.__annotations__)
        definition = TaskDefinition({**others, "name": name, "container": container})
        super().__init__(_stub(name, inputs or {}, outputs), definition)
        self.__name__ = name
        self.place = calling_place()


def _stub(name: str, inputs: Mapping[str, Any], output: Any) -> Callable[..., object]:
    """Return a function with the signature of a container task."""

    def refuse(**_inputs: object) -> NoReturn:
        raise Rejected(f"{name} is a program of an image, which cannot run locally")

    parameters = [_parameter(f"{name}: inputs", each, type_) for each, type_ in inputs.items()]
    vars(refuse)["__signature__"] = Signature(parameters, return_annotation=output)
    refuse.__annotations__ = {**inputs, "return": output}
    return refuse


def _parameter(path: str, name: str, type_: Any) -> Parameter:
    try:
        return Parameter(name, Parameter.KEYWORD_ONLY, annotation=type_)
    except (TypeError, ValueError) as error:
        raise Invalid(path, name, "names of parameters of Python") from error
