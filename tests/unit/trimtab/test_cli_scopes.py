"""Scopes from flags, and flytectl's texts for scopes."""

from typing import Any

import pytest

from trimtab.cli.commands import Failure
from trimtab.cli.scopes import error_text, parse_scope, success_text
from trimtab.levels import PLATFORM, Scope


@pytest.mark.parametrize(
    ("scope", "success", "error"),
    [
        (PLATFORM, "the platform", "platform"),
        (Scope("staging"), "domain staging", "domain staging"),
        (Scope(project="shop"), "shop project", "project shop"),
        (
            Scope("staging", "shop"),
            "shop project and domain staging",
            "project shop domain staging",
        ),
        (
            Scope("staging", "shop", "w", "nightly"),
            "shop project and domain staging and workflow w and launch plan nightly",
            "project shop domain staging workflow w launch plan nightly",
        ),
    ],
)
def test_messages_name_a_scope_as_flytectl_does(scope: Scope, success: str, error: str) -> None:
    assert (success_text(scope), error_text(scope)) == (success, error)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "project is required"),
        ({"project": "shop", "workflow": "w"}, "domain is required"),
        ({"domain": "staging", "workflow": "w"}, "project is required"),
        ({"project": "shop", "domain": "staging", "launch_plan": "l"}, "workflow is required"),
        ({"project": "shop", "platform": True}, "takes no 'shop'"),
    ],
)
def test_an_incomplete_scope_is_rejected(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(Failure, match=message):
        parse_scope(**parts, missing="project is required")
