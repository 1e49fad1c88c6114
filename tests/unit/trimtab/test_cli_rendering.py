"""Tables and places as people read them."""

from typing import Any

import pytest

from trimtab.cli.failures import Failure
from trimtab.cli.places import in_words, scope_of, target_of
from trimtab.cli.rendering import table
from trimtab.levels import PLATFORM, Scope


def test_columns_are_as_wide_as_they_need() -> None:
    rows = [("a", 1, None), ("longer", ["x", "y"], "two\nlines")]
    assert table(("NAME", "N", "NOTE"), rows) == (
        "NAME    N     NOTE\na       1     -\nlonger  x, y  two lines"
    )


@pytest.mark.parametrize(
    ("scope", "target", "words"),
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
def test_a_place_is_named_as_flytectl_names_it(scope: Scope, target: str, words: str) -> None:
    assert (target_of(scope), in_words(scope)) == (target, words)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({}, "project is required"),
        ({"project": "shop", "workflow": "w"}, "domain is required"),
        ({"domain": "staging", "workflow": "w"}, "project is required"),
        ({"project": "shop", "domain": "staging", "launch_plan": "l"}, "workflow is required"),
        ({"project": "shop", "platform": True}, "takes no 'shop'"),
    ],
)
def test_a_place_that_is_not_complete_is_refused(places: dict[str, Any], said: str) -> None:
    with pytest.raises(Failure, match=said):
        scope_of(**places, nothing="project is required")
