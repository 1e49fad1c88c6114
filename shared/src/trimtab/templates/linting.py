"""Finds the errors of templates that need no values of a project. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from trimtab.levels import Scope
from trimtab.templates import parsing, variables
from trimtab.templates.manifests import ObjectKey
from trimtab.templates.parsing import BadTemplate
from trimtab.templates.rendering import Source, manifest_of
from trimtab.templates.values import ConfiguredValues, Values, values_of
from trimtab.templates.variables import Declaration

_TARGET = Scope("domain", "project")
_NAMESPACE = "project-domain"
_SAMPLES = {"integer": "1", "quantity": "1", "boolean": "true"}
_Place = tuple[str, int, bool]
"""A file, the index of a document in it, and whether its object is that of another document."""


def find_problems(
    sources: Sequence[Source],
    attributes: Mapping[str, str],
    configured: ConfiguredValues,
) -> list[BadTemplate]:
    """Return every error of templates, and of the given values of declared variables.

    Other placeholders have stand-ins: an error counts if it does not depend on them.
    """
    problems: list[BadTemplate] = []
    sound = [source for source in sources if _is_sound(source, problems)]
    declarations: dict[str, Declaration] = {}
    try:
        declarations = variables.declared(sound)
    except BadTemplate as error:
        problems.append(error)
    problems += _wrong_values(declarations, attributes, configured)
    first, second = (
        dict(_object_problems(sound, _stand_ins(sound, declarations, are_alike=alike)))
        for alike in (True, False)
    )
    return problems + [error for place, error in second.items() if place in first]


def _is_sound(source: Source, problems: list[BadTemplate]) -> bool:
    """Return whether a template can be parsed; otherwise add its errors."""
    before = len(problems)
    for read in (parsing.parse, variables.declared_in):
        try:
            read(*source)
        except BadTemplate as error:
            problems.append(error)
    return len(problems) == before


def _wrong_values(
    declarations: Mapping[str, Declaration],
    attributes: Mapping[str, str],
    configured: ConfiguredValues,
) -> Iterator[BadTemplate]:
    """Yield an error for each wrong value, of one that several domains share only once."""
    seen = set()
    for domain in configured.custom_data or [_TARGET.domain]:
        target = Scope(domain, _TARGET.project)
        values = values_of(_NAMESPACE, target, attributes, configured, {})
        for error in variables.wrong_values(declarations, values):
            if str(error) not in seen:
                seen.add(str(error))
                yield error


def _stand_ins(
    sources: Sequence[Source], declarations: Mapping[str, Declaration], *, are_alike: bool
) -> Values:
    """Return a value for each placeholder: that of the namespace, or all different ones."""
    names = {name for source in sources for name in parsing.parse(*source).names}
    texts = {name: _NAMESPACE if are_alike else f"value-of-{name}" for name in names}
    for name, (_, variable) in declarations.items():
        sample = (variable.allowed or [_SAMPLES.get(variable.type)])[0]
        if text := variable.default or sample:
            texts[name] = text
    return values_of(_NAMESPACE, _TARGET, texts, ConfiguredValues(), {})


def _object_problems(
    sources: Sequence[Source], values: Values
) -> Iterator[tuple[_Place, BadTemplate]]:
    texts = {name: value.text for name, value in values.items()}
    origins: dict[ObjectKey, str] = {}
    for file, text in sources:
        for index, document in enumerate(parsing.parse(file, text).split()):
            try:
                [body] = document.objects(texts)
                manifest = manifest_of(file, body, _NAMESPACE)
            except BadTemplate as error:
                yield (file, index, False), error
                continue
            if manifest.key in origins:
                reason = f"{manifest} is also an object of {origins[manifest.key]}"
                yield (file, index, True), BadTemplate(file, reason)
            origins.setdefault(manifest.key, file)
