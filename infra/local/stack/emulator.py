"""Runs ministack, the emulator of AWS, on the socket of the first argument. It refuses requests from web pages.

Nagle's algorithm is off. The emulator sends an event to a function in two writes, headers and body. With the algorithm,
the second write waits for the acknowledgement of the first, which takes 40 ms in every invocation.
"""

import asyncio
import gc
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

# A collection of the oldest generation visits everything that the emulator holds, and stops it for as long. With many
# tests' rows, that is longer than the functions wait for a response, and nearly all of it is still in use.
GC_THRESHOLDS = (700, 10, 100_000)

# Longer than a minute, for which clients keep idle connections.
KEEP_ALIVE_SECONDS = 75


def main(descriptor: int) -> None:
    """Starts ministack as its own command does, but on a bound socket."""
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    gc.set_threshold(*GC_THRESHOLDS)
    guard_handlers()
    share_reserved_concurrency()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS may reject the limit that it reports.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.loglevel = "WARNING"
    asyncio.run(serve(guard_app(app), config))


def share_reserved_concurrency() -> None:
    """Applies a function's reserved concurrency to its versions, as AWS does. ministack limits only `$LATEST`."""
    of_record = lambda_svc._reserved_concurrency

    def of_function(record: dict[str, Any], config: dict[str, Any]) -> int | None:
        return of_record(lambda_svc._functions.get(config["FunctionName"]) or record, config)

    lambda_svc._reserved_concurrency = of_function


main(int(sys.argv[1]))
