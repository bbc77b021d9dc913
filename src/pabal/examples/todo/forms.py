"""From an HTTP request to a value, and back to an answer for programs and for people."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

T = TypeVar("T")

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


async def fields(request: Request) -> dict[str, Any]:
    """The fields of a JSON object or a form. Raises HTTPException for what is neither."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in FORMS:
        async with request.form(max_files=0, max_fields=10) as form:
            return dict(form)
    if media_type != "application/json":
        raise HTTPException(415, "send application/json or a form")
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise HTTPException(422, f"send a JSON object: {error}") from None
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"this is no JSON: {error}") from None


def convert(value: dict[str, Any], type: type[T]) -> T:
    """The fields as a value of that type. Raises HTTPException when they do not fit."""
    try:
        return msgspec.convert(value, type, strict=False)
    except msgspec.ValidationError as error:
        raise HTTPException(422, str(error)) from None


def wants_page(request: Request) -> bool:
    """Whether this is a browser that loads a page, and no script or program."""
    return "text/html" in request.headers.get("accept", "")


def answer(request: Request, value: dict[str, Any], status: int = 202) -> Response:
    """`value` as JSON; for a form without JavaScript, the way back to the page."""
    return RedirectResponse("/", 303) if wants_page(request) else JSONResponse(value, status)
