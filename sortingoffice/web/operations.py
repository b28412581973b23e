"""The office's own API as a table of operations; the same table makes its OpenAPI document.

Promise: what the document says a request may hold is what is taken, and what it says an answer
holds is what is sent: both sides are read and written through the one set of models.

Sources: OpenAPI 3.1; RFC 9110 §15.5.6 (405 and Allow), §15.5.10 (409), §15.5.16 (415), §15.5.21 (422).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sortingoffice.core.access import Scope
from sortingoffice.frozen import dataclass
from sortingoffice.web.answers import Answer, Refused, nothing, octets, refusal
from sortingoffice.web.auth import Desk, guarded, let_in

_REF = "#/components/schemas/{model}"
_WRONG = 422  # of the wrong form
# A file is a person's own: kept by nobody on the way, and nothing in it runs where a browser opens it.
_KEPT = {
    "Cache-Control": "no-store",
    "Content-Disposition": "attachment",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
_CONFLICT = 409  # of the right form, but the office says no, in a sentence


class In(BaseModel):
    """What a request holds: nothing that isn't named, and no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is whole."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)


def _in_utc(value: datetime) -> datetime:
    """The last evening of the calendar lies in no year of UTC: stored, nobody could read it again."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("should lie in the years 1 to 9999 of UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Query(BaseModel):
    """A request's query: everything in it is text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    """What an answer holds, and nothing else."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Mistake(Out):
    """Why not: a sentence for a person, twice, because clients look for either."""

    error: str
    message: str


class Wrong(Mistake):
    """What is of the wrong form, and where."""

    errors: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that a person does.

    path     below /api/office; {number:int} for numbers
    name     operationId
    handler  called with the call, then the body and the query where the operation has them; the values
             of the path by name
    gives    a model, or a list of one; None: nothing (204)
    file     media type, where the handler returns the octets of a file
    """

    method: str
    path: str
    name: str
    summary: str
    scope: Scope | None
    handler: Callable[..., Awaitable[Any]]
    gives: Any = None
    takes: type[In] | None = None
    query: type[Query] | None = None
    status: int = 200
    file: str = ""


def routes(desk: Desk, operations: Sequence[Operation]) -> list[BaseRoute]:
    """A route for each path: it knows all of the path's methods."""
    by_path: dict[str, dict[str, Operation]] = {}
    for each in operations:
        by_path.setdefault(each.path, {})[each.method] = each
    document = openapi(operations)

    async def described(request: Request) -> Response:
        return Answer(document)

    return [
        Route("/openapi.json", described, methods=["GET"]),
        *(_route(desk, path, methods) for path, methods in by_path.items()),
    ]


def _route(desk: Desk, path: str, methods: Mapping[str, Operation]) -> Route:
    async def answered(request: Request) -> Response:
        chosen = methods["GET" if request.method == "HEAD" else request.method]
        return await guarded(lambda: _handled(desk, request, chosen), _CONFLICT, request)

    return Route(path, answered, methods=list(methods))


async def _handled(desk: Desk, request: Request, operation: Operation) -> Response:
    call = await let_in(desk, request, operation.scope)
    try:
        values: list[Any] = []
        if operation.takes is not None:
            values.append(await _body(request, operation.takes))
        if operation.query is not None:
            values.append(operation.query.model_validate(_single(request)))
        elif request.query_params:
            raise Refused(_WRONG, "this path takes no query", more={"errors": {}})
        found = await operation.handler(call, *values, **request.path_params)
    except ValidationError as error:
        return refusal(_wrong(error), request.url.path)
    if operation.file:
        return Response(found, media_type=operation.file, headers=_KEPT)
    if operation.gives is None:
        return nothing()
    adapter: TypeAdapter[Any] = TypeAdapter(operation.gives)
    shaped = adapter.dump_python(adapter.validate_python(found, strict=False), mode="json", by_alias=True)
    return Answer(shaped, operation.status)


async def _body(request: Request, model: type[In]) -> In:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "send application/json", headers={"Accept-Post": "application/json"})
    return model.model_validate_json(await octets(request) or b"null")


def _single(request: Request) -> dict[str, str]:
    """The query as a mapping; what is given twice is wrong."""
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise Refused(_WRONG, f"{name} is given twice", more={"errors": {name: ["once"]}})
    return dict(pairs)


def _wrong(error: ValidationError) -> Refused:
    told: dict[str, list[str]] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(step) for step in each["loc"]) or "body"
        told.setdefault(where, []).append(each["msg"])
    first, sentences = next(iter(told.items()))
    return Refused(_WRONG, f"{first}: {sentences[0]}", more={"errors": told})


# ---- the document --------------------------------------------------------------------------------


def openapi(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of the table."""
    given: list[type[BaseModel]] = [Mistake, Wrong]
    given += [_model(each.gives)[0] for each in operations if each.gives is not None]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (each.takes, "validation") for each in operations if each.takes is not None
    ]
    models += [(model, "serialization") for model in given]
    _, defined = models_json_schema(list(dict.fromkeys(models)), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(one.path.replace(":int}", "}"), {})[one.method.lower()] = _described(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sorting Office",
            "version": version("sortingoffice"),
            "description": "Everything a person does with their addresses, cards and mail.",
        },
        "servers": [{"url": "/api/office"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": defined["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _model(gives: Any) -> tuple[type[BaseModel], bool]:
    """The model that an answer is of, and whether it is a list of them."""
    inner: tuple[type[BaseModel], ...] | None = getattr(gives, "__args__", None)
    return (inner[0], True) if inner else (gives, False)


def _described(each: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": each.name,
        "summary": each.summary,
        "description": f'Needs the scope "{each.scope.value}".' if each.scope is not None else "Any token.",
        "parameters": _parameters(each),
        "responses": _responses(each),
    }
    if each.takes is not None:
        schema = {"$ref": _REF.format(model=each.takes.__name__)}
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return told


def _parameters(each: Operation) -> list[dict[str, Any]]:
    found = []
    for part in each.path.split("/"):
        if not part.startswith("{"):
            continue
        name, _, kind = part.strip("{}").partition(":")
        schema = (
            {"type": "integer", "minimum": 0, "maximum": 2**53}
            if kind == "int"
            else {"type": "string", "minLength": 1, "pattern": r"^[^/\x00-\x1f]+$"}
        )
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if each.query is not None:
        described = each.query.model_json_schema(ref_template=_REF)
        for name, schema in described["properties"].items():
            schema = _inlined(schema, described.get("$defs", {}))
            found.append({"name": name, "in": "query", "required": False, "schema": schema})
    return found


def _inlined(schema: dict[str, Any], defined: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's schema without references; a missing parameter needs no null."""
    options = schema.get("anyOf")
    if options:
        kept = [each for each in options if each.get("type") != "null"]
        schema = {**{k: v for k, v in schema.items() if k not in ("anyOf", "default")}, **kept[0]}
    if "$ref" in schema:
        schema = dict(defined[schema["$ref"].rpartition("/")[2]])
    return schema


def _responses(each: Operation) -> dict[str, Any]:
    def of(model: type[BaseModel], words: str, many: bool = False) -> dict[str, Any]:
        schema: dict[str, Any] = {"$ref": _REF.format(model=model.__name__)}
        if many:
            schema = {"type": "array", "items": schema}
        return {"description": words, "content": {"application/json": {"schema": schema}}}

    done: dict[str, Any] = {"description": "done"}
    if each.file:
        done["content"] = {each.file: {}}  # OpenAPI 3.1: octets need no schema
    if each.gives is not None:
        model, many = _model(each.gives)
        done = of(model, "done", many)
    told = {
        str(each.status if each.gives is not None or each.file else 204): done,
        "401": of(Mistake, "no token, or one that opens nothing"),
        "403": of(Mistake, "the token may not do this"),
        "404": of(Mistake, "it isn't there, or isn't yours"),
        "409": of(Mistake, "understood, but not possible, and why"),
        "422": of(Wrong, "of the wrong form, and where"),
        "429": of(Mistake, "too many requests; Retry-After says how long to wait"),
        "503": of(Mistake, "not now; Retry-After says when to try again"),
    }
    if each.takes is not None:
        told["413"] = of(Mistake, "the body is too large")
        told["415"] = of(Mistake, "the body is no JSON by its Content-Type")
    return dict(sorted(told.items()))
