"""Helpers that the scripts in this folder share: checks, waiting, access tokens, and HTTP servers on 127.0.0.1."""

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60
HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding"}


def check(what: str, holds: object) -> None:
    """Prints `what` if it holds, and otherwise ends the program."""
    if not holds:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


def eventually(what: str, ask: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Calls `ask` until it returns a true value, and returns that value. Ends the program after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := ask():
            check(what, True)
            return value
        time.sleep(0.2)
    raise SystemExit(f"FAILED: {what} within {seconds} s")


def token(*arguments: str) -> str:
    """Returns an access token of the stack whose variables are set."""
    command = [*shlex.split(os.environ["BINDERY_TOKEN_COMMAND"]), *arguments]
    return subprocess.check_output(command, text=True).strip()


@dataclass
class Request:
    """A request received by a server of `serving`. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Response:
    """The response to a request."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@contextmanager
def serving(respond: Callable[[Request], Response]) -> Iterator[str]:
    """Runs an HTTP server on 127.0.0.1 that responds with this function's result, and yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = respond(Request(self.command, self.path, headers, body))
            self.send_response(response.status)
            for name, value in {**response.headers, "Content-Length": str(len(response.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body)

        do_GET = do_POST = do_PUT = handle_request  # noqa: N815 (the base class's names)

        def log_message(self, format: str, *args: Any) -> None:
            """Writes no access log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def forward(request: Request, base_url: str) -> Response:
    """Forwards the request to the server at this URL, and returns its response."""
    to = urlsplit(base_url)
    connection = HTTPConnection(to.hostname or "", to.port, timeout=30)
    headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    connection.request(request.method, to.path + request.path, request.body, headers)
    response = connection.getresponse()
    passed_on = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
    return Response(response.status, passed_on, response.read())
