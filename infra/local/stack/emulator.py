"""Runs the emulator of AWS, ministack, on the socket that is handed to it: it answers programs alone, and at once.

It hands a function its event in two writes, headers and body. By default the second waits until the first is
acknowledged (Nagle's algorithm), and the other side takes 40 ms to do so: for every invocation.
"""

import asyncio
import resource
import socketserver
import sys
from contextlib import suppress

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app

from stack.guard import guard_app, guard_handlers

# Clients keep connections for a minute.
KEEP_ALIVE_SECONDS = 75


def main(descriptor: int) -> None:
    """Does what ministack's own command does, on a socket that is bound already."""
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    guard_handlers()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS has a limit that it does not name.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = Config()
    config.bind = [f"fd://{descriptor}"]
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.loglevel = "WARNING"
    asyncio.run(serve(guard_app(app), config))


main(int(sys.argv[1]))
