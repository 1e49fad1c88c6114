"""The configuration of pods. Pure."""

from trimtab.models import Model
from trimtab.settings import namespaces


class PodDefaults(Model):
    """Values that a propeller adds to pods, the same for every attempt of an execution."""

    namespace_template: str = namespaces.DEFAULT
    """The template of namespaces' names, the same as that of admin."""
    function_image: str = ""
    """The image of Python functions for which no source sets one; empty is none."""
    gpu_resource: str = "nvidia.com/gpu"
    """The resource of Kubernetes that ``gpu`` means in requests and limits."""
    labels: dict[str, str] = {}
    """Labels of every pod, which others of the same key replace."""
    annotations: dict[str, str] = {}
    """Annotations of every pod, which others of the same key replace."""
