"""The version of this library, which is that of the services and of the command line beside it."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("trimtab")
