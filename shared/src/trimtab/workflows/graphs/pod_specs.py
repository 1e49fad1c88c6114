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
    _check_end(path, pod_spec)
    seen: set[str] = set()
    for at, container in containers(path, pod_spec):
        name = container.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in seen:
            raise Invalid(f"{at}.name", name, _NAMES)
        seen.add(name)
        if "image" in container:
            check_image(f"{at}.image", container["image"])
        for field in ("command", "args"):
            _check_texts(f"{at}.{field}", _given(container, field, []))
        _check_variables(f"{at}.env", _given(container, "env", []))
        _check_resources(f"{at}.resources", _given(container, "resources", {}))


def images(pod_spec: Mapping[str, JsonValue]) -> Iterator[str]:
    """Yield the images of a checked pod."""
    for _, container in containers("", pod_spec):
        if isinstance(image := container.get("image"), str):
            yield image


def containers(
    path: str, pod_spec: Mapping[str, JsonValue]
) -> Iterator[tuple[str, Mapping[str, JsonValue]]]:
    """Yield the containers and init containers, each with its path. Raises `Invalid`."""
    for group in _GROUPS:
        listed = pod_spec.get(group, [])
        if not isinstance(listed, list):
            raise Invalid(f"{path}.{group}", listed, "a list of containers")
        for index, container in enumerate(listed):
            yield f"{path}.{group}.{index}", _object(f"{path}.{group}.{index}", container)


def _check_end(path: str, pod_spec: Mapping[str, JsonValue]) -> None:
    """Raise `Invalid` where the pod would never end, or at no readable time."""
    policy = _given(pod_spec, "restartPolicy", "Never")
    if policy not in ("Never", "OnFailure"):
        raise Invalid(f"{path}.restartPolicy", policy, "Never or OnFailure, because a task ends")
    seconds = _given(pod_spec, "activeDeadlineSeconds", 1)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 1:
        raise Invalid(f"{path}.activeDeadlineSeconds", seconds, "a number of seconds from 1")


def _check_texts(path: str, texts: JsonValue) -> None:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Invalid(path, texts, 'a list of texts, such as ["python", "-m", "train"]')


def _check_variables(path: str, variables: JsonValue) -> None:
    if not isinstance(variables, list):
        raise Invalid(path, variables, "a list of variables")
    for index, variable in enumerate(variables):
        name = _object(f"{path}.{index}", variable).get("name")
        if not isinstance(name, str) or not name:
            raise Invalid(f"{path}.{index}.name", name, "the name of the variable")


def _check_resources(path: str, resources: JsonValue) -> None:
    by_group = _object(path, resources)
    amounts: dict[str, Mapping[str, JsonValue]] = {}
    for group in ("requests", "limits"):
        amounts[group] = _object(f"{path}.{group}", _given(by_group, group, {}))
        for name, amount in amounts[group].items():
            _check_amount(f"{path}.{group}.{name}", amount)
    for name, request in amounts["requests"].items():
        limit = amounts["limits"].get(name)
        if limit is not None and quantities.parse(str(request)) > quantities.parse(str(limit)):
            at = f"{path}.requests.{name}"
            raise Invalid(at, request, f"at most the limit of the container, {limit}")


def _check_amount(path: str, amount: JsonValue) -> None:
    is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
    text = str(amount) if is_number else amount
    if not isinstance(text, str) or not quantities.is_amount(text):
        raise Invalid(path, amount, f"{quantities.ALLOWED}; not negative")


def _given(value: Mapping[str, JsonValue], name: str, default: JsonValue) -> JsonValue:
    """Return a field. As in Kubernetes, null is an absent one."""
    given = value.get(name)
    return default if given is None else given


def _object(path: str, value: JsonValue) -> Mapping[str, JsonValue]:
    if not isinstance(value, dict):
        raise Invalid(path, value, "an object")
    return value
