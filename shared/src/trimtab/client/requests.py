"""What the nouns share: their connection, and how paths, parameters and headers are put."""

from typing import Any
from urllib.parse import quote

from trimtab.client.calls import Calls
from trimtab.levels import Scope


class Noun:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls


def at(*steps: str) -> str:
    """The path of these steps, whatever stands in their names."""
    return "".join(f"/{quote(step, safe='')}" for step in steps)


def given(**parameters: str | int | None) -> dict[str, str]:
    """Those that say something: neither ``None`` nor empty."""
    return {name: str(value) for name, value in parameters.items() if value not in (None, "")}


def parts(scope: Scope) -> dict[str, str]:
    return given(
        domain=scope.domain,
        project=scope.project,
        workflow=scope.workflow,
        launch_plan=scope.launch_plan,
    )


def because(reason: str) -> dict[str, str]:
    return {"X-Trimtab-Reason": reason} if reason else {}


def precondition(version: int | None, force: bool) -> dict[str, Any]:
    """What a write demands of what is stored now."""
    if force:
        return {"params": {"force": "true"}}
    if version is None:
        return {"headers": {"If-None-Match": "*"}}
    return {"headers": {"If-Match": f'"{version}"'}}


def write(scope: Scope, version: int | None, force: bool, reason: str) -> dict[str, Any]:
    """Parameters and headers of a write of one record."""
    demanded = precondition(version, force)
    return {
        "headers": demanded.get("headers", {}) | because(reason),
        "params": parts(scope) | demanded.get("params", {}),
    }


def dry(request: dict[str, Any]) -> dict[str, Any]:
    return request | {"params": request["params"] | {"dry_run": "true"}}
