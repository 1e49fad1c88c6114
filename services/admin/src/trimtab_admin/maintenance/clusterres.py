"""The state of clusterres, which admin requests from it."""

from collections.abc import Callable

import nats.errors
from nats.aio.client import Client
from pydantic import ValidationError

from trimtab.api.doctor import ClusterresBody, ClusterresReport
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.runtime import retrying

_TIMEOUT_SECONDS = 3.0
"""Longer than clusterres waits for its clusters."""


class ClusterresState:
    """Requests the report of the active clusterres; that none replies is a result too."""

    def __init__(self, client: Callable[[], Client]) -> None:
        """``client`` returns the connection, and raises `Unavailable` where there is none."""
        self._client = client

    async def get(self) -> ClusterresBody:
        """Return the report, or why there is none."""
        try:
            reply = await self._client().request(
                subjects.CLUSTERRES_REPORT, b"", timeout=_TIMEOUT_SECONDS
            )
            return ClusterresBody(report=ClusterresReport.model_validate_json(reply.data))
        except nats.errors.NoRespondersError:
            error = "no clusterres of this release is active"
        except (nats.errors.TimeoutError, TimeoutError):
            error = f"no reply within {_TIMEOUT_SECONDS:g} s"
        except (nats.errors.Error, Unavailable) as failure:
            error = str(failure)
        except ValidationError as failure:
            error = f"its reply cannot be read by this release: {failure.error_count()} errors"
        retrying.raise_if_cancelled()
        return ClusterresBody(error=error)
