"""Whom the stack's servers answer: programs on this machine, and the console its own pages. No other page of a browser.

Every page may send requests to 127.0.0.1, and the emulator runs what code it is given. So a page that is looked at
while the stack is up could act as whoever looks at it.
"""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

REFUSAL = "The local stack answers programs on this machine, not pages of a browser."


def is_stranger(header: Callable[[str], str | None], *, has_pages: bool = False) -> bool:
    """Whether a request with these headers comes from a page, or by a name that is not this machine's.

    - Host: whoever owns a name can have it point to 127.0.0.1, and a page of that name is then of our origin.
    - Origin: a page's fetch, form or WebSocket.
    - Sec-Fetch-Site: what needs no Origin, such as images and links. `none` is an address that was typed, or a link in
      a mail, and may have been redirected here; only a server that has pages answers that, and those pages.
    """
    host = (header("Host") or "").lower()
    name = host.split(":")[0]
    if name not in ("127.0.0.1", "localhost") and not name.endswith(".localhost"):
        return True
    origin, site = header("Origin"), header("Sec-Fetch-Site")
    if has_pages:
        return origin not in (None, f"http://{host}") or site not in (None, "none", "same-origin")
    return origin is not None or site is not None


def guard_handlers() -> None:
    """Has every server of this process that is made of the standard library's handlers refuse strangers.

    In the emulator these are the Lambda Runtime APIs, one for each function, on ports of their own.
    """
    parse = BaseHTTPRequestHandler.parse_request

    def parse_and_judge(handler: BaseHTTPRequestHandler) -> bool:
        if not parse(handler):
            return False
        if is_stranger(handler.headers.get):
            handler.send_error(HTTPStatus.FORBIDDEN, explain=REFUSAL)
            return False
        return True

    BaseHTTPRequestHandler.parse_request = parse_and_judge


def guard_app(app: Any) -> Any:
    """The ASGI application, refusing strangers."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_stranger(lambda name: headers.get(name.lower())):
            return await app(scope, receive, send)
        if scope["type"] == "websocket":
            # Before it is accepted: 403.
            return await send({"type": "websocket.close"})
        await send({"type": "http.response.start", "status": HTTPStatus.FORBIDDEN, "headers": []})
        await send({"type": "http.response.body", "body": REFUSAL.encode()})

    return guarded
