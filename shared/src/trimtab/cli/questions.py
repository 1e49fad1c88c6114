"""What a person is asked before something is changed."""

import sys

import click


def confirmed(question: str) -> bool:
    """Whether the answer is yes; the end of the input is a no."""
    return asked(question, "yn") == "y"


def asked(question: str, letters: str) -> str:
    """Wait for a line that is one of the letters, as flytectl does: ``yes`` and ``no`` are, too.

    The end of the input is a no.
    """
    click.echo(question, nl=False)
    for line in sys.stdin:
        answer = {"yes": "y", "no": "n"}.get(line.strip().lower(), line.strip().lower())
        if answer and answer in tuple(letters):
            return answer
    return "n"
