"""Amounts of the resources of tasks. Pure."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from trimtab import quantities


def _check_quantity(text: str) -> str:
    try:
        amount = quantities.parse(text)
    except quantities.InvalidQuantity as error:
        # pydantic reports a ValueError with its path.
        raise ValueError(quantities.ALLOWED) from error
    if amount < 0:
        raise ValueError("a quantity that is not negative")
    return text


def _check_whole(text: str) -> str:
    amount = quantities.parse(_check_quantity(text))
    if amount != amount.to_integral_value():
        raise ValueError("a whole number of GPUs")
    return text


Quantity = Annotated[str, AfterValidator(_check_quantity)]
WholeQuantity = Annotated[str, AfterValidator(_check_whole)]


class ResourceSpec(BaseModel):
    """Kubernetes quantities by resource."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    cpu: Quantity | None = None
    """Cores."""
    gpu: WholeQuantity | None = None
    """Whole devices."""
    memory: Quantity | None = None
    """Bytes."""
    ephemeral_storage: Quantity | None = None
    """Bytes."""
