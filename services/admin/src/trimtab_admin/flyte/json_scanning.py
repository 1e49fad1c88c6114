"""JSON texts as the REST gateway of Flyte reads them: the first value, and its tokens. Pure.

A text is read twice: `value_in` finds the end of the first value and rejects text that is not JSON,
then `Scanner` takes the value apart. The work grows with the length of the text, whatever it is,
and nothing but open brackets is kept.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

_MAX_DEPTH = 10_000
_BLANKS = re.compile(r"[ \t\n\r]*+")
_TEXT = r'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)*+'
_NUMBER = r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_TOKEN = re.compile(
    rf'(?P<mark>[{{}}\[\],:])|(?P<string>"{_TEXT}")|(?P<number>{_NUMBER})|(?P<word>true|false|null)'
)
_CONTENT = re.compile(_TEXT)
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]*+")
_ESCAPE = re.compile(r"\\(?:u(?P<code>[0-9A-Fa-f]{4})|(?P<letter>.))")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNPAIRED = re.compile("[\ud800-\udfff]")
_LITERALS = {word[0]: word for word in ("true", "false", "null")}
_BREAKS_IN_NUMBER = (
    (re.compile(r"-(?![0-9])"), "in numeric literal"),
    (re.compile(r"-?(?:0|[1-9][0-9]*+)\.(?![0-9])"), "after decimal point in numeric literal"),
    (
        re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?[eE](?:[+-](?![0-9])|(?![+-]|[0-9]))"),
        "in exponent of numeric literal",
    ),
)
_PLACES = {
    "value": "looking for beginning of value",
    "value or ]": "looking for beginning of value",
    "name": "looking for beginning of object key string",
    "name or }": "looking for beginning of object key string",
    ":": "after object key",
    ", or }": "after object key:value pair",
    ", or ]": "after array element",
}
"""The words of an error for what is due at its place."""
_SHORTS = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SHORTS |= {"\v": r"\v", "\\": r"\\", '"': r"\""}


class JsonError(ValueError):
    """A text is not JSON, or not that of the message: the sentence is the one of the gateway."""


def decode(body: bytes) -> str:
    """Return the text of a body; a byte that is not UTF-8 becomes one surrogate."""
    return body.decode("utf-8", "surrogateescape")


def value_in(text: str) -> str | None:
    """Return the text of the first value, ``None`` where there is nothing but blanks.

    Text after the value is ignored. Raises `JsonError`.
    """
    start = at = _skip(text, 0)
    if at == len(text):
        return None
    open_marks: list[str] = []
    due = "value"
    while True:
        match = _TOKEN.match(text, at)
        token = match[0] if match else ""
        if match is None or not _fits(token, due, open_marks):
            raise _syntax_error(text, at, due)
        if match["number"] and text.startswith((".", "e", "E"), match.end()):
            _check_number(text, at)
        at = match.end()
        if token in ("{", "["):
            open_marks.append(token)
            if len(open_marks) > _MAX_DEPTH:
                raise JsonError("exceeded max depth")
            due = "name or }" if token == "{" else "value or ]"
        elif due in ("name", "name or }") and token != "}":
            due = ":"
        elif token == ":":
            due = "value"
        elif token == ",":
            due = "name" if open_marks[-1] == "{" else "value"
        else:
            if token in ("}", "]"):
                open_marks.pop()
            if not open_marks:
                return text[start:at]
            due = ", or }" if open_marks[-1] == "{" else ", or ]"
        at = _skip(text, at)


def _fits(token: str, due: str, open_marks: list[str]) -> bool:
    match due:
        case "value":
            return token not in ("}", "]", ",", ":")
        case "value or ]":
            return token not in ("}", ",", ":")
        case "name" | "name or }":
            return token[:1] == '"' or (token == "}" and due == "name or }")
        case ":":
            return token == ":"
    return token in (",", "}" if open_marks[-1] == "{" else "]")


def _syntax_error(text: str, at: int, due: str) -> JsonError:
    """Return the error at the token that does not fit, or is none."""
    first = text[at : at + 1]
    is_value_due = due in ("value", "value or ]")
    if first == '"' and (is_value_due or due in ("name", "name or }")):
        return _in_string(text, at + 1)
    if is_value_due and first in _LITERALS:
        word = _LITERALS[first]
        matching = next(i for i, c in enumerate(word) if text[at + i : at + i + 1] != c)
        expected = f"in literal {word} (expecting '{word[matching]}')"
        return _invalid_character(text, at + matching, expected)
    if is_value_due and first == "-":
        _check_number(text, at)
    return _invalid_character(text, at, _PLACES[due])


def _check_number(text: str, at: int) -> None:
    """Raise `JsonError` where what begins as a number is none."""
    for broken, where in _BREAKS_IN_NUMBER:
        if match := broken.match(text, at):
            raise _invalid_character(text, match.end(), where)


def _in_string(text: str, at: int) -> JsonError:
    """Return the error in the string whose content begins at a place."""
    valid = _CONTENT.match(text, at)
    assert valid is not None
    at = valid.end()
    if text[at : at + 1] != "\\":
        return _invalid_character(text, at, "in string literal")
    if text[at + 1 : at + 2] != "u":
        return _invalid_character(text, at + 1, "in string escape code")
    digits = _HEXADECIMAL.match(text, at + 2)
    assert digits is not None
    return _invalid_character(text, digits.end(), r"in \u hexadecimal character escape")


def _invalid_character(text: str, at: int, where: str) -> JsonError:
    if at >= len(text):
        return JsonError("unexpected EOF")
    byte = text[at].encode("utf-8", "surrogateescape")[0]
    shown = {0x27: r"'\''", 0x22: "'\"'"}.get(byte) or f"'{quoted(chr(byte))[1:-1]}'"
    return JsonError(f"invalid character {shown} {where}")


def quoted(text: str) -> str:
    """Return a text in quotation marks, as the messages of Go have it."""

    def shown(character: str) -> str:
        if character in _SHORTS or character.isprintable():
            return _SHORTS.get(character, character)
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            return rf"\x{code - 0xDC00:02x}"
        if code < 0x20 or code == 0x7F:
            return rf"\x{code:02x}"
        return rf"\u{code:04x}" if code < 0x10000 else rf"\U{code:08x}"

    return f'"{"".join(map(shown, text))}"'


def _skip(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    assert match is not None
    return match.end()


class Token(NamedTuple):
    """A token of a value, with its place in the text."""

    kind: str
    """The token itself for a bracket and a word; ``name``, ``string`` or ``number``."""
    at: int
    raw: str


@dataclass
class Scanner:
    """The tokens of a text that is one JSON value, as `value_in` returns it."""

    text: str
    _at: int = 0

    def peek(self) -> str:
        """Return the first character of the next token."""
        return self.text[self.place()]

    def read(self) -> Token:
        """Return the next token, without commas and colons. Raises `JsonError`."""
        at = self.place()
        match = _TOKEN.match(self.text, at)
        assert match is not None  # `value_in` has matched the same text
        self._at = match.end()
        raw, kind = match[0], str(match.lastgroup)
        if kind in ("mark", "word"):
            return Token(raw, at, raw)
        if kind == "string":
            self._check(at, raw)
            following = _skip(self.text, self._at)
            if self.text[following : following + 1] == ":":
                self._at = following + 1
                kind = "name"
        return Token(kind, at, raw)

    def read_value(self) -> str:
        """Return the text of the next value, whatever it is. Raises `JsonError`."""
        start, depth = self.place(), 0
        while True:
            token = self.read()
            if token.kind in ("{", "["):
                depth += 1
            elif token.kind in ("}", "]"):
                depth -= 1
            if depth == 0 and token.kind != "name":
                return self.text[start : self._at]

    def place(self) -> int:
        """Return where the next token begins."""
        self._skip_separators()
        return self._at

    def error(self, at: int, message: str) -> JsonError:
        return JsonError(f"proto: ({self._place(at)}): {message}")

    def unexpected(self, token: Token) -> JsonError:
        return self._syntax_error(token.at, f"unexpected token {token.raw}")

    def _syntax_error(self, at: int, message: str) -> JsonError:
        return JsonError(f"proto: syntax error ({self._place(at)}): {message}")

    def _place(self, at: int) -> str:
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        return f"line {line}:{column}"

    def _skip_separators(self) -> None:
        self._at = _skip(self.text, self._at)
        while self.text[self._at] == ",":
            self._at = _skip(self.text, self._at + 1)

    def _check(self, at: int, raw: str) -> None:
        """Raise `JsonError` for a string whose text could not be stored."""
        if _UNPAIRED.search(raw):
            raise self._syntax_error(at, "invalid UTF-8 in string")
        if "\\u" not in raw:
            return
        text = unquote(raw)
        if unpaired := _UNPAIRED.search(text):
            code = f"\\u{ord(unpaired[0]):04x}"
            raise self._syntax_error(at, f"invalid escape code {quoted(code)} in string")


def unquote(raw: str) -> str:
    """Return the text of a string token."""
    content = raw[1:-1]
    if "\\" not in content:
        return content

    def character(match: re.Match[str]) -> str:
        if match["code"]:
            return chr(int(match["code"], 16))
        return _LETTERS.get(match["letter"], match["letter"])

    text = _ESCAPE.sub(character, content)
    # Escapes of two surrogates are one character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
