"""Refuses requests from web pages. The stack's servers accept those of local programs and of the console's own pages.

Any page in a browser can send requests to 127.0.0.1, and the emulator runs any code that it receives. So while the
stack is up, a malicious page could act as the user who opened it.
"""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

REFUSAL = "The local stack accepts requests from programs on this machine, not from web pages."


def is_stranger(header: Callable[[str], str | None], *, has_pages: bool = False) -> bool:
    """Returns whether a request with these headers comes from a web page, or uses a name of another host.

    - Host: the owner of a name can point it to 127.0.0.1. A page with that name then has our origin.
    - Origin: a page's fetch, form or WebSocket.
    - Sec-Fetch-Site: requests without an Origin, such as images and links. `none` is a typed address or a link in a
      mail, possibly redirected. Only a server with pages accepts it, and requests from those pages.
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
    """Makes all servers in this process that use the standard library's handlers refuse strangers.

    In the emulator these are the Lambda Runtime APIs, one for each function, each on its own port.
    """
    parse = BaseHTTPRequestHandler.parse_request

    def parse_and_check(handler: BaseHTTPRequestHandler) -> bool:
        if not parse(handler):
            return False
        if is_stranger(handler.headers.get):
            handler.send_error(HTTPStatus.FORBIDDEN, explain=REFUSAL)
            return False
        return True

    BaseHTTPRequestHandler.parse_request = parse_and_check


def guard_app(app: Any) -> Any:
    """Wraps an ASGI application so that it refuses strangers."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_stranger(lambda name: headers.get(name.lower())):
            return await app(scope, receive, send)
        if scope["type"] == "websocket":
            # Closing it before it is accepted sends a 403.
            return await send({"type": "websocket.close"})
        await send({"type": "http.response.start", "status": HTTPStatus.FORBIDDEN, "headers": []})
        await send({"type": "http.response.body", "body": REFUSAL.encode()})

    return guarded
