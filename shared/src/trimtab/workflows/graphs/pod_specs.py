"""Check the ``PodSpec`` of Kubernetes that a user wrote, as far as Trimtab reads it. Pure."""

import re
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from trimtab import quantities
from trimtab.errors import Invalid
from trimtab.workflows.graphs.images import check_image

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_GROUPS = ("containers", "initContainers")
_NAMES = "a name of at most 63 small letters, digits and -, which no other container has"


def check_pod_spec(path: str, pod_spec: Mapping[str, JsonValue]) -> None:
    """Raise `Invalid` where containers lack a name of their own, or have wrong images or amounts.

    The system adds the primary container where the list does not have it.
    """
    seen: set[str] = set()
    for at, container in _containers(path, pod_spec):
        name = container.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in seen:
            raise Invalid(f"{at}.name", name, _NAMES)
        seen.add(name)
        if "image" in container:
            check_image(f"{at}.image", container["image"])
        _check_resources(f"{at}.resources", container.get("resources", {}))


def images(pod_spec: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield the images of a checked pod."""
    for _, container in _containers("", pod_spec):
        if isinstance(image := container.get("image"), str):
            yield image


def _containers(
    path: str, pod_spec: Mapping[str, JsonValue]
) -> Iterator[tuple[str, Mapping[str, JsonValue]]]:
    for group in _GROUPS:
        listed = pod_spec.get(group, [])
        if not isinstance(listed, list):
            raise Invalid(f"{path}.{group}", listed, "a list of containers")
        for index, container in enumerate(listed):
            yield f"{path}.{group}.{index}", _object(f"{path}.{group}.{index}", container)


def _check_resources(path: str, resources: JsonValue) -> None:
    for group, amounts in _object(path, resources).items():
        if group not in ("requests", "limits"):
            continue
        for name, amount in _object(f"{path}.{group}", amounts).items():
            _check_amount(f"{path}.{group}.{name}", amount)


def _check_amount(path: str, amount: JsonValue) -> None:
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    text = str(amount) if is_number else amount
    if not isinstance(text, str) or not quantities.is_amount(text):
        raise Invalid(path, amount, f"{quantities.ALLOWED}; not negative")


def _object(path: str, value: JsonValue) -> Mapping[str, JsonValue]:
    if not isinstance(value, dict):
        raise Invalid(path, value, "an object")
    return value
