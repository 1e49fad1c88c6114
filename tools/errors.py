"""Make the list of all errors, `docs/errors.md`, from `trimtab.errors.Code`.

``pytest --update-golden tests/unit/test_errors_page.py`` writes the page after a change.
"""

from trimtab.errors import Code

_INTRODUCTION = """\
# Errors

<!-- Written by `pytest --update-golden tests/unit/test_errors_page.py`, not by hand. -->

Every error has a code. It is the `code` of the `application/problem+json` of the API (RFC 9457) and
of a NATS reply, and decides the statuses and the exit code of the command line. `detail` names
the value that is wrong. A client decides by the code or the status, never by the text.

Two codes may share a status. An error that exists in HTTP only (405, 408, 413, 415) has no code;
the command line treats it as `REJECTED`. A wrong flag or argument ends a command with 2 too. The
exit codes of `trimtab diff` are in [cli.md](cli.md)."""


def page() -> str:
    """Return the text of the page."""
    rows = ["| code | HTTP | gRPC | exit code | when it comes | what to do |", "|---" * 6 + "|"]
    rows += [
        f"| `{code.name}` | {code.http_status} | `{code.grpc_status}` | {code.exit_code} "
        f"| {code.when} | {code.remedy} |"
        for code in Code
    ]
    return "\n\n".join([_INTRODUCTION, "\n".join(rows)]) + "\n"
