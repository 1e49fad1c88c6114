"""Modules that need the extra ``trimtab[flyte]``, imported when a command first needs them."""

from importlib import import_module
from types import ModuleType

from trimtab.errors import Rejected


def load(name: str) -> ModuleType:
    """Import a module of Trimtab. Raises `Rejected` where the extra is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "trimtab":
            raise
        raise Rejected(
            f"this command needs the messages of Flyte and gRPC ({error.name} is missing): "
            "pip install 'trimtab[flyte]'"
        ) from error
