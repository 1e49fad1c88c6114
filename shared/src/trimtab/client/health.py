"""The health of one service, which it reports on ``/readyz`` without an API token."""

from collections.abc import Mapping

import httpx
from pydantic import BaseModel, ValidationError

from trimtab.client.addresses import is_loopback

_TIMEOUT_SECONDS = 5.0
"""More than admin waits for its database before it reports that it is not ready."""


class ViewHealth(BaseModel):
    """The view of the settings that a service works with."""

    revision: int


class Health(BaseModel):
    """The body of ``/readyz``."""

    status: str
    """``ready`` or ``not ready``."""
    reasons: Mapping[str, str] = {}
    """Why the service is not ready, by part."""
    version: str = ""
    view: ViewHealth | None = None
    """Absent for admin, which has no view."""


async def fetch(url: str) -> Health | None:
    """Return the health of the service at an address; ``None`` where no service responds."""
    try:
        async with httpx.AsyncClient(
            timeout=_TIMEOUT_SECONDS, trust_env=not is_loopback(url)
        ) as client:
            return Health.model_validate_json((await client.get(f"{url}/readyz")).content)
    except (httpx.TransportError, httpx.InvalidURL, ValidationError):
        return None
