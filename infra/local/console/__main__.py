"""Serves the console of the stack whose variables are set, on the socket that is handed to it, until it is stopped."""

import os
import sys
from typing import Any
from urllib.parse import urlsplit

from werkzeug.serving import WSGIRequestHandler, make_server

from .app import make_app
from .watcher import Watcher


class Handler(WSGIRequestHandler):
    """Keeps the log to errors: a path may name a card."""

    def log_request(self, *arguments: Any) -> None:
        """Says nothing."""


def main() -> None:
    """Watches and serves."""
    watcher = Watcher(os.environ["TABLE_NAME"], os.environ["CONSOLE_QUEUE_URL"])
    watcher.start()
    port = urlsplit(os.environ["BINDERY_CONSOLE_URL"]).port
    app, descriptor = make_app(watcher), int(sys.argv[1])
    make_server("127.0.0.1", port, app, threaded=True, request_handler=Handler, fd=descriptor).serve_forever()


main()
