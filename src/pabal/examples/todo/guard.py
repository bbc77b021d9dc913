"""What the app does not let in, and what it tells browsers not to do."""

from __future__ import annotations

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 65_536

OWN_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Refuses other hosts' names, other sites' forms and large bodies; adds the security headers.

    The app listens on loopback, but any web page can make its reader's browser send requests there.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refused = refusal(scope["method"], Headers(scope=scope))
        if refused is not None:
            answer = JSONResponse({"error": refused.detail}, refused.status_code)
            await answer(scope, receive, send_with_headers)
        else:
            await self._app(scope, limited(receive), send_with_headers)


def refusal(method: str, headers: Headers) -> HTTPException | None:
    """Why a request is not let in, or None."""
    host = headers.get("host", "")
    if not OWN_HOST.fullmatch(host):
        return HTTPException(421, "this is a local demo: open it as 127.0.0.1 or localhost")
    if method not in ("GET", "HEAD"):
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return HTTPException(403, "another site may not write here")
        if headers.get("origin", f"http://{host}").lower() != f"http://{host}".lower():
            return HTTPException(403, "another site may not write here")
    length = headers.get("content-length", "0")
    return _too_large() if length.isdecimal() and int(length) > MOST_BYTES else None


def limited(receive: Receive) -> Receive:
    """The same `receive`, which raises an HTTPException when the body becomes too large."""
    taken = 0

    async def receive_limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BYTES:
            raise _too_large()
        return message

    return receive_limited


def _too_large() -> HTTPException:
    return HTTPException(413, f"at most {MOST_BYTES // 1024} KiB are taken")
