"""Serves the console of the stack in the environment's variables, on the socket of the first argument."""

import os
import sys
from typing import Any
from urllib.parse import urlsplit

from werkzeug.serving import WSGIRequestHandler, make_server

from .app import make_app
from .watcher import Watcher


class Handler(WSGIRequestHandler):
    """Limits the log to errors, because a path may contain a card ID."""

    def log_request(self, *arguments: Any) -> None:
        """Logs nothing for a request."""


def main() -> None:
    """Starts the watcher and the web server."""
    watcher = Watcher(os.environ["TABLE_NAME"], os.environ["CONSOLE_QUEUE_URL"])
    watcher.start()
    port = urlsplit(os.environ["BINDERY_CONSOLE_URL"]).port
    app, descriptor = make_app(watcher), int(sys.argv[1])
    make_server("127.0.0.1", port, app, threaded=True, request_handler=Handler, fd=descriptor).serve_forever()


main()
