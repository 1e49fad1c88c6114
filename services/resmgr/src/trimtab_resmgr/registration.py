"""Creates pools in admin, which keeps them, for services that register what they need."""

from urllib.parse import quote

import httpx
from pydantic import ValidationError

from trimtab.api import PoolBody, Problem
from trimtab.errors import Rejected, Unauthorized, Unavailable
from trimtab.tokens import Register

TIMEOUT_SECONDS = 5.0


class Registry:
    """admin's pools."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """``client`` knows admin's address and token."""
        self._client = client

    async def create(self, pool: Register) -> None:
        """Make the pool unless there is one of that name, which is no error.

        Raises `Unavailable`, `Unauthorized`, and `Rejected` with admin's words.
        """
        body = PoolBody.model_construct(name=pool.pool, quota=pool.quota)
        try:
            answer = await self._client.put(
                f"/api/v2/pools/{quote(pool.pool, safe='')}",
                json=body.model_dump(exclude_none=True),
                headers={"If-None-Match": "*"},
            )
        except httpx.HTTPError as error:
            raise Unavailable(
                f"admin does not answer at {self._client.base_url}: {error}"
            ) from error
        if answer.is_success or answer.status_code == httpx.codes.PRECONDITION_FAILED:
            return
        said = f"admin refused to create pool {pool.pool!r}: {_words(answer)}"
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Unauthorized(f"{said}; TRIMTAB_TOKEN_FILE names the token to use")
        if answer.is_server_error:
            raise Unavailable(said)
        raise Rejected(said)


def _words(answer: httpx.Response) -> str:
    try:
        return Problem.model_validate_json(answer.content).detail
    except ValidationError:
        return f"HTTP {answer.status_code}"
