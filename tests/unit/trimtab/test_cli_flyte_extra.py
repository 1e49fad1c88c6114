"""Commands that need the extra ``trimtab[flyte]``."""

import pytest

from trimtab.cli import flyte_extra
from trimtab.errors import Rejected


def test_a_missing_package_is_an_error_that_names_the_extra() -> None:
    with pytest.raises(Rejected, match=r"no_such_package is missing.*pip install 'trimtab\[flyte]"):
        flyte_extra.load("no_such_package")


def test_a_module_of_trimtab_that_is_missing_is_not_blamed_on_the_extra() -> None:
    with pytest.raises(ModuleNotFoundError):
        flyte_extra.load("trimtab.no_such_module")
