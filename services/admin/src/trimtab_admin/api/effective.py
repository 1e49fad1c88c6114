"""The effective value of a kind: what is asked most, by a route that does no more than it must."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from trimtab import kinds
from trimtab.api.effective import EffectiveBody
from trimtab_admin.api.inputs import ScopeQuery
from trimtab_admin.api.rights import VIEWER_OF_RECORD
from trimtab_admin.api.strict import Route
from trimtab_admin.settings.reading import Reader


class EffectiveQuery(ScopeQuery):
    """What an effective value is of, and by which rule."""

    as_flyte: bool = False
    """By the rule of Flyte 1: the narrowest record, whole."""


class _Direct(Route):
    """Its endpoint takes ``query``, a model, beside what is in the path, and answers a model.

    FastAPI looks at the type of every field anew in every call, which takes as long as all else.
    """

    def handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        [query] = (parameter.field_info for parameter in self.dependant.query_params)
        model = query.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        rights = [right.call for right in self.dependant.dependencies if right.call is not None]

        async def handle(request: Request) -> Response:
            for right in rights:
                await right(request)
            try:
                query = model.model_validate(dict(request.query_params))
            except ValidationError as error:
                wrong = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
                raise RequestValidationError(wrong) from error
            body = await self.endpoint(**request.path_params, query=query)
            return Response(body.model_dump_json(), media_type="application/json")

        return handle


def router(reader: Reader) -> APIRouter:
    routes = APIRouter(tags=["records"], route_class=_Direct)

    @routes.get("/effective/{kind}", dependencies=[VIEWER_OF_RECORD])
    async def get_effective(kind: str, query: Annotated[EffectiveQuery, Query()]) -> EffectiveBody:
        return await reader.effective(kinds.by_name(kind), query.scope, as_flyte=query.as_flyte)

    return routes
