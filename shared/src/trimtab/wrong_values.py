"""Why pydantic refused a value, in the words of JSON: what is allowed instead. Pure.

pydantic's own sentences name types of Python, such as tuple and dictionary.
"""

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

_LIST, _OBJECT, _NUMBER = "a list", "an object", "a number"
_INTEGER = "an integer"
_BOOLEAN = "true or false"
_TIME = "a time such as 2030-01-31T12:00:00Z"
_TEXT = "a string"
_DATE = "a date such as 2030-01-31"
_TIME_OF_DAY = "a time of day such as 12:30:00"
_DURATION = "a duration such as PT1H30M"

_ALLOWED: Mapping[str, str] = {
    "missing": "a value: the field is required",
    "string_type": _TEXT,
    "string_unicode": "a string that UTF-8 can encode",
    "string_too_short": "a string of at least {min_length} character(s)",
    "string_too_long": "a string of at most {max_length} characters",
    "string_pattern_mismatch": "a string of the pattern {pattern}",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": f"{_INTEGER} of fewer digits",
    "int_from_float": _INTEGER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "decimal_type": _NUMBER,
    "decimal_parsing": _NUMBER,
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "time_type": _TIME_OF_DAY,
    "time_parsing": _TIME_OF_DAY,
    "time_delta_type": _DURATION,
    "time_delta_parsing": _DURATION,
    "dataclass_type": _OBJECT,
    "dataclass_exact_type": "an instance of {class_name}",
    "is_instance_of": "an instance of {class}",
    "timezone_aware": f"{_TIME}, with Z or an offset",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "none_required": "null",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "iterable_type": _LIST,
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "invalid_key": "keys that are strings",
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "union_tag_invalid": "an object whose {discriminator} is one of {expected_tags}",
    "union_tag_not_found": "an object with the field {discriminator}",
}
"""By the type of the error; the names in braces are those of its context."""


def allowed_instead(error: ErrorDetails) -> str:
    """Return what is allowed instead of the value that the error is about."""
    context: Mapping[str, Any] = error.get("ctx", {})
    template = _ALLOWED.get(error["type"])
    if template is not None:
        return template.format_map(context)
    # A check of ours words its own error.
    return str(context.get("error") or error["msg"])
