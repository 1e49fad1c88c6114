"""The target of a task: the function, the container or the pod that an attempt runs. Pure.

Image, resources and environment are no part of it: they are in the task's configuration, where they
can be overridden.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from trimtab.models import Model
from trimtab.texts import DATA, MULTILINE

IN_IMAGE = "image"


class Function(Model):
    """A Python function."""

    type: Literal["function"] = "function"
    module: str = ""
    """The dotted name of its module in a bundle; empty for code of one text."""
    name: str = ""
    """The name of the task in its module; empty where it is the name of the task."""
    code: str = ""
    """The SHA-256 of its code, where that is not the code of the workflow: of one of the workflow's
    `sources`, or of a bundle. `IN_IMAGE` where the code is in its image, unlike the workflow's."""


class Container(Model):
    """A program of an image."""

    type: Literal["container"] = "container"
    command: Annotated[tuple[str, ...], MULTILINE] = ()
    """Absent, it is that of the image. Command and arguments may contain templates such as
    ``{{.inputs.rows}}``."""
    args: Annotated[tuple[str, ...], MULTILINE] = ()
    config: Annotated[dict[str, JsonValue], DATA] = {}


class Pod(Model):
    """The pod of the configuration's ``pod_template``."""

    type: Literal["pod"] = "pod"


TaskTarget = Annotated[Function | Container | Pod, Field(discriminator="type")]
