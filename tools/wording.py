"""Check the language of docstrings, comments, messages and pages: plain engineering English.

``make lint`` runs it. The lists are short on purpose: each entry names a habit that this code base
had, with the reason beside it. `style.md` has the rule behind them: a sentence has a subject or an
imperative verb, an object, and the terms that Kubernetes, NATS, PostgreSQL and Flyte use.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OPENINGS = {
    r"Of": "a sentence fragment: begin with the noun that it is about, or with a verb",
    r"What": "a noun clause without a verb: say what the thing is, or what the function returns",
    r"Who(se)?": "a noun clause without a verb: name the caller, holder or owner",
    r"That": "a noun clause without a verb",
    r"Those|These": "a pronoun that refers to nothing yet: name the things",
    r"But|Beside|Unless|As": "a clause that depends on another sentence",
}
"""A docstring does not begin with these words."""

WORDS = {
    r"hear|hears|heard|hearing": "services consume messages, functions receive values",
    r"says?|said|saying": "services publish, records set, responses report, errors name",
    r"tells?|told|telling": "logs report, errors name, callers notify",
    r"asks?|asked|asking": "callers request, clients poll, commands prompt",
    r"whoever|somebody|nobody|anybody": "name the caller, holder, owner, process or replica",
    r"anew": "again",
    r"for ever": "indefinitely",
    r"but for": "except for",
    r"(?<!flyte-)beside(?! (the|a|each|its|it|this|one)\b)": "in addition to, next to",
    r"gives? back|given back|giving back|gave back": "release",
    r"put away|puts away": "the operation has a name: checkpoint, store, release",
    r"of which nothing": "rewrite as two sentences",
}
"""Prose does not contain these words. Names in backticks are not prose."""

FIELDS = {"says"}
"""Names that stay because they are fields of ``/api/v2``."""

QUOTED = re.compile(r"``.*?``|`[^`]*`|\"[^\"\n]*\"|https?://\S+", re.DOTALL)
_OPENING = {re.compile(rf"({words})\b"): reason for words, reason in OPENINGS.items()}
_WORD = {re.compile(rf"\b({words})\b", re.IGNORECASE): reason for words, reason in WORDS.items()}


class Text(NamedTuple):
    """A piece of prose and where it begins."""

    line: int
    text: str
    is_docstring: bool = False


def python_texts(source: str) -> Iterator[Text]:
    """Docstrings, comments, and strings that are sentences: messages for users."""
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docstrings.add(value.lineno)
                yield Text(value.lineno, value.value, is_docstring=True)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text(token.start[0], token.string)
        # A string with fewer than two blanks is a key, a subject or a format.
        is_message = token.type == tokenize.STRING and token.string.count(" ") >= 2
        if is_message and token.start[0] not in docstrings:
            yield Text(token.start[0], token.string.strip("rbfRBF\"'"))


def names(source: str) -> Iterator[Text]:
    """Names that the module defines, with blanks for underscores and before capitals."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                name = node.name
            case ast.arg():
                name = node.arg
            case ast.Name(ctx=ast.Store()):
                name = node.id
            case ast.Attribute(ctx=ast.Store()):
                name = node.attr
            case _:
                continue
        if name not in FIELDS:
            yield Text(node.lineno, re.sub(r"_|(?<=[a-z])(?=[A-Z])", " ", name))


def lua_texts(source: str) -> Iterator[Text]:
    """Comments of a script."""
    for number, line in enumerate(source.splitlines(), 1):
        if "--" in line:
            yield Text(number, line.partition("--")[2])


def page_texts(source: str) -> Iterator[Text]:
    """The lines of a Markdown page that are outside code blocks."""
    is_code = False
    for number, line in enumerate(source.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield Text(number, line)


def problems(text: Text) -> Iterator[tuple[int, str]]:
    """Each word that the lists name, with its line and the reason."""
    if text.is_docstring:
        for pattern, reason in _OPENING.items():
            if found := pattern.match(text.text.lstrip()):
                yield text.line, f'opens with "{found[0]}": {reason}'
    prose = QUOTED.sub(lambda quoted: "`" + "\n" * quoted[0].count("\n") + "`", text.text)
    for pattern, reason in _WORD.items():
        for found in pattern.finditer(prose):
            line = text.line + prose.count("\n", 0, found.start())
            yield line, f'"{found[0]}": {reason}'


EXEMPT = {"wording.py", "test_wording.py"}
"""Files that contain the words because they are about them."""

TEXTS = {".py": python_texts, ".lua": lua_texts, ".md": page_texts}


def main(files: list[str]) -> int:
    """Report every problem of the named files, or of all tracked ones; 1 where there is any."""
    command = ["git", "ls-files", "*.py", "*.lua", "*.md"]
    tracked = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    count = 0
    for file in files or tracked:
        path = Path(file)
        if path.suffix not in TEXTS or not path.is_file() or path.name in EXEMPT:
            continue
        source = path.read_text()
        texts = [*TEXTS[path.suffix](source), *(names(source) if path.suffix == ".py" else ())]
        for text in texts:
            for line, problem in problems(text):
                count += 1
                print(f"{file}:{line}: {problem}")  # noqa: T201
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
