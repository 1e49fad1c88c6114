"""The SDK that a workflow was registered with. Pure."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from trimtab.models import Model


class SdkType(StrEnum):
    """An SDK."""

    OTHER = "OTHER"
    TRIMTAB_SDK = "TRIMTAB_SDK"
    FLYTE_SDK = "FLYTE_SDK"


class RuntimeMetadata(Model):
    """The SDK that a workflow was registered with."""

    RuntimeType: ClassVar[type[SdkType]] = SdkType

    type: SdkType = SdkType.OTHER
    version: str = Field(default="", max_length=100)
    flavor: str = Field(default="", max_length=100)
    """Its language, such as ``Python``."""
