"""Variables that templates declare: their types, defaults and meanings. Pure.

A template declares variables in its first comment, which other readers ignore::

    # trimtab:variables
    # projectQuotaCpu:
    #   type: quantity
    #   default: "4"
    #   help: CPU of all pods of the namespace.
    # tier: {type: enum, allowed: [small, large]}

A declaration is for all templates of the set.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from trimtab import quantities, yaml_texts
from trimtab.echoes import HIDDEN, shown
from trimtab.errors import Invalid, Rejected
from trimtab.kinds.cluster_resource import PLACEHOLDER_NAME, RESERVED
from trimtab.models import Model, parse_model
from trimtab.quantities import InvalidQuantity
from trimtab.templates.parsing import BLANKS, BadTemplate
from trimtab.templates.values import TemplateValue

MAX_CHARACTERS = 64 * 1024
"""Characters of the declarations of a file."""
_HEAD = re.compile(r"#[ \t]*trimtab:variables[ \t]*")
_NOTHING = re.compile(r"\s*(#.*|---\s*)?")
"""A line without content."""
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NAME = re.compile(PLACEHOLDER_NAME)


class Variable(Model):
    """The declaration of a variable."""

    type: Literal["string", "integer", "quantity", "boolean", "enum"] = "string"
    default: str | None = None
    """The value where no source has one."""
    help: str = ""
    allowed: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """All values of an ``enum``."""

    @model_validator(mode="after")
    def _check(self) -> "Variable":
        if (self.type == "enum") != (self.allowed is not None):
            raise ValueError("`allowed` with the type enum, and with no other")
        if self.default is not None and not self.accepts(self.default):
            raise ValueError(f"as default {self.expected}")
        return self

    @property
    def expected(self) -> str:
        """The values that are allowed, for a message."""
        match self.type:
            case "enum":
                return f"one of {', '.join(self.allowed or ())}"
            case "quantity":
                return f"a quantity: {quantities.ALLOWED}"
            case "boolean":
                return "true or false"
            case "integer":
                return "an integer"
            case "string":
                return "any text"

    def accepts(self, text: str) -> bool:
        """Whether the type allows the text, of which blanks around it are no part."""
        text = text.strip(BLANKS)
        match self.type:
            case "enum":
                return text in (self.allowed or ())
            case "quantity":
                return _is_quantity(text)
            case "boolean":
                return text in ("true", "false")
            case "integer":
                return _INTEGER.fullmatch(text) is not None
            case "string":
                return True


class Declaration(NamedTuple):
    """A declared variable, and the file that declares it."""

    file: str
    variable: Variable


def declared(sources: Iterable[tuple[str, str]]) -> dict[str, Declaration]:
    """Return the variables that files declare, given as name and text. Raises `BadTemplate`."""
    found: dict[str, Declaration] = {}
    for file, text in sources:
        for name, variable in declared_in(file, text).items():
            other = found.setdefault(name, Declaration(file, variable))
            if other.variable != variable:
                reason = f"variable {name} is declared differently in {other.file}"
                raise BadTemplate(file, reason)
    return found


def wrong_values(
    declarations: Mapping[str, Declaration], values: Mapping[str, TemplateValue]
) -> Iterator[BadTemplate]:
    """Yield an error for each value that its declaration does not allow."""
    for name, (file, variable) in declarations.items():
        value = values.get(name)
        if value is not None and not value.problem and not variable.accepts(value.text):
            text = HIDDEN if value.is_hidden else shown(name, value.text)
            yield BadTemplate(file, f"variable {name} is {text}; allowed: {variable.expected}")


def defaults(declarations: Mapping[str, Declaration]) -> dict[str, str]:
    """Return the values of the variables that no source sets."""
    found = ((name, variable.default) for name, (_, variable) in declarations.items())
    return {name: default for name, default in found if default is not None}


def declared_in(file: str, text: str) -> Mapping[str, Variable]:
    """Return the variables that one file declares. Raises `BadTemplate`."""
    found = _declared_once(file, text)
    if isinstance(found, BadTemplate):
        raise BadTemplate(found.file, found.reason)
    return found


@lru_cache(maxsize=1000)
def _declared_once(file: str, text: str) -> Mapping[str, Variable] | BadTemplate:
    declaration = "\n".join(_declaring_lines(text))
    if len(declaration) > MAX_CHARACTERS:
        return BadTemplate(file, f"declares variables in more than {MAX_CHARACTERS:,} characters")
    try:
        content = yaml_texts.parse_one("trimtab:variables", declaration) if declaration else {}
        if not isinstance(content, dict):
            raise Invalid("trimtab:variables", content, "a mapping of names to declarations")
        return {name: _variable(name, fields) for name, fields in content.items()}
    except Rejected as error:
        return BadTemplate(file, str(error))


def _variable(name: str, fields: object) -> Variable:
    if name in RESERVED or not _NAME.fullmatch(name):
        raise Invalid(
            "trimtab:variables",
            name,
            "a name that a placeholder can have; reserved are " + ", ".join(sorted(RESERVED)),
        )
    if not isinstance(fields, dict):
        raise Invalid(f"variable {name}", fields, "a mapping such as {type: integer}")
    try:
        return parse_model(Variable, fields)
    except Invalid as error:
        path = f"variable {name}.{error.path}".removesuffix(".")
        raise Invalid(path, error.value, error.allowed) from error


def _declaring_lines(text: str) -> Iterator[str]:
    """Yield the lines of the declaration, without their ``#``."""
    is_declaring = False
    for line in text.removeprefix("\ufeff").splitlines():
        if is_declaring and not line.startswith("#"):
            return
        if is_declaring:
            yield line[1:]
        elif _HEAD.fullmatch(line):
            is_declaring = True
        elif not _NOTHING.fullmatch(line):
            return


def _is_quantity(text: str) -> bool:
    try:
        quantities.parse(text)
    except InvalidQuantity:
        return False
    return True
