"""Runs the emulator of AWS, ministack, on the socket that is handed to it: it answers programs alone, and at once.

It hands a function its event in two writes, headers and body. By default the second waits until the first is
acknowledged (Nagle's algorithm), and the other side takes 40 ms to do so: for every invocation.
"""

import asyncio
import resource
import socketserver
import sys
from contextlib import suppress
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.services import lambda_svc

from stack.guard import guard_app, guard_handlers

# Clients keep connections for a minute.
KEEP_ALIVE_SECONDS = 75


def main(descriptor: int) -> None:
    """Does what ministack's own command does, on a socket that is bound already."""
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    guard_handlers()
    share_reserved_concurrency()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS has a limit that it does not name.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.loglevel = "WARNING"
    asyncio.run(serve(guard_app(app), config))


def share_reserved_concurrency() -> None:
    """Has a function's reserved concurrency hold for its versions, as on AWS; ministack has it for `$LATEST` alone."""
    of_record = lambda_svc._reserved_concurrency

    def of_function(record: dict[str, Any], config: dict[str, Any]) -> int | None:
        return of_record(lambda_svc._functions.get(config["FunctionName"]) or record, config)

    lambda_svc._reserved_concurrency = of_function


main(int(sys.argv[1]))
