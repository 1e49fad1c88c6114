"""Parses a message of a state stream where it is read: known, of a later release, or foreign. Pure.

A message is Trimtab's if it has what a service of any release writes: the headers of an event, a
subject that is written as `trimtab.messages.subjects` writes it, and a JSON object that names the
same things as the subject. Each other one is foreign. One of Trimtab's whose family, type or body
this release does not know is of a later release: it is kept as it is.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from trimtab.errors import Invalid
from trimtab.messages import subjects
from trimtab.messages.events import (
    COMMIT,
    EVENT_ID,
    EVENT_TYPE,
    REVISION,
    SETTINGS_EVENTS,
    SOURCE,
    SPEC_VERSION,
    Event,
    LaterChange,
    NamespaceStatus,
    RecordChanged,
    Watermark,
    settings_subject,
)

E = TypeVar("E", bound=Event)

_EVENT_TYPE = re.compile(r"trimtab\.[a-z0-9_.]{1,200}\.v[0-9]{1,6}")
_NUMBER = re.compile(r"[0-9]{1,18}")


class Foreign(ValueError):
    """The message is not one of Trimtab; the text is the reason."""


class SettingsChange(NamedTuple):
    """A change of the settings, as a message of SETTINGS states it."""

    event: Event
    revision: int
    commit: int


def settings_change(subject: str, headers: Mapping[str, str], body: bytes) -> SettingsChange:
    """Parse a message of SETTINGS that is no watermark. Raises `Foreign`."""
    event_type = _event_type(headers)
    revision, commit = _number(headers, REVISION), _number(headers, COMMIT)
    if not 1 <= revision <= commit:
        raise Foreign(f"revision {revision} is not from 1 to the commit {commit}")
    return SettingsChange(stored_setting(subject, body, event_type), revision, commit)


def stored_setting(subject: str, body: bytes | str, event_type: str = "") -> Event:
    """Parse a change of the settings from its subject and its body. Raises `Foreign`.

    ``event_type`` is empty where it is not stored with them.
    """
    family = subject.split(".")[1] if subject.count(".") >= 2 else ""
    model = SETTINGS_EVENTS.get(family)
    if model is not None and event_type in ("", model.type_of_event()):
        try:
            event = model.model_validate_json(body)
        except ValidationError:
            pass
        else:
            _check_subject(subject, event)
            return event
    return _later_change(subject, body, event_type)


def watermark(headers: Mapping[str, str], body: bytes) -> Watermark:
    """Parse a watermark. Raises `Foreign`, also where it is of a later release."""
    return _parse(Watermark, headers, body)


def namespace_status(subject: str, headers: Mapping[str, str], body: bytes) -> NamespaceStatus:
    """Parse a message of NAMESPACES. Raises `Foreign`, also where it is of a later release."""
    status = _parse(NamespaceStatus, headers, body)
    try:
        expected = subjects.namespace(status.cluster, status.namespace)
    except Invalid as error:
        raise Foreign(str(error)) from error
    if expected != subject:
        raise Foreign("the names in the body are not those of the subject")
    return status


def _parse(model: type[E], headers: Mapping[str, str], body: bytes) -> E:
    event_type = _event_type(headers)
    if event_type != model.type_of_event():
        raise Foreign(f"the type is {event_type}")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Foreign(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _event_type(headers: Mapping[str, str]) -> str:
    """Return the type of the event that a service of Trimtab published. Raises `Foreign`."""
    if not headers.get(EVENT_ID) or headers.get("ce-source") != SOURCE:
        raise Foreign(f"it has no header {EVENT_ID}, or no ce-source of Trimtab")
    if headers.get("ce-specversion") != SPEC_VERSION:
        raise Foreign("it is no CloudEvent of version 1")
    event_type = headers.get(EVENT_TYPE)
    if not isinstance(event_type, str) or not _EVENT_TYPE.fullmatch(event_type):
        raise Foreign(f"{EVENT_TYPE} is no type of Trimtab's")
    return event_type


def _number(headers: Mapping[str, str], name: str) -> int:
    value = headers.get(name)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise Foreign(f"{name} is no revision")
    return int(value)


def _check_subject(subject: str, event: Event) -> None:
    try:
        expected = settings_subject(event)
    except Invalid as error:
        raise Foreign(str(error)) from error
    # The kind is not escaped, so it could hold a dot.
    if expected != subject or (isinstance(event, RecordChanged) and "." in event.kind):
        raise Foreign("the names in the body are not those of the subject")


def _later_change(subject: str, body: bytes | str, event_type: str) -> LaterChange:
    """Keep a change whose family, type or body this release does not know. Raises `Foreign`."""
    names = subjects.settings_names(subject)
    if names is None:
        raise Foreign("the subject is not one of a setting")
    try:
        content = from_json(body)
    except ValueError as error:
        raise Foreign(f"the body is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise Foreign("the body is no JSON object")
    model = SETTINGS_EVENTS.get(subject.split(".")[1])
    # Fields are only added to a type, so that an event of a known one has the names of the subject.
    is_known = model is not None and event_type == model.type_of_event()
    for field, name in names.items():
        if content.get(field, None if is_known else name) != name:
            raise Foreign(f"{field} is not that of the subject")
    text = body if isinstance(body, str) else body.decode()
    return LaterChange(subject=subject, type=event_type, text=text, deleted=_is_deleted(content))


def _is_deleted(content: Mapping[str, object]) -> bool:
    """Whether the subject has no value any more; the same in each family and release."""
    if "document" in content:
        return content["document"] is None
    return content.get("deleted") is True
