#!/usr/bin/env python3
"""Runs the clients in examples/ against the stack whose variables are set, and checks what they did.

Called by ./tests/run. A gateway between the client and the API loses responses. The first response to each instruction
is a 503 although the instruction took effect, and so is the first response to each read. So a client succeeds only if
it waits as long as requested, and repeats each instruction with the same key.
"""

import math
import os
import shutil
import subprocess
import time
import uuid
from collections import Counter
from email.utils import formatdate
from pathlib import Path
from typing import Any

from checks import PATIENCE_SECONDS, ROOT, Request, Response, check, forward, serving, token
from tenant_events import TenantEvents

EXAMPLES = ROOT / "examples"
VENV = ROOT / "target" / "examples-venv"
# The AWS CLI is one of the tests' tools.
PATH = f"{ROOT / 'target/tests-venv/bin'}:{os.environ['PATH']}"
TENANT = f"TN-{uuid.uuid4()}"
# The events of a bulk of three cards: created, one bound, two canceled, the start and the cancel ended.
EVENTS = Counter(
    {"create": 3, "bind_card": 1, "noname_cancellation": 2, "noname_bulk_start": 1, "noname_bulk_cancellation": 1}
)


class Gateway:
    """Forwards requests, but loses first responses.

    `Retry-After` is a date for instructions, and a number of seconds for reads.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        # The time at which each lost request may be repeated, and the requests that were repeated earlier.
        self.due: dict[tuple[str, str, str], float] = {}
        self.early: list[tuple[str, str, str]] = []

    def respond(self, request: Request) -> Response:
        """Responds as the API does, except to the first request of its kind."""
        key = (request.method, request.path, request.headers.get("idempotency-key", ""))
        self.requests[key] += 1
        is_lost = self.requests[key] == 1
        if self.requests[key] == 2 and time.time() < self.due[key]:
            self.early.append(key)
        if is_lost and request.method == "GET":
            return self.lose(key, "1", time.time() + 1)
        response = forward(request, os.environ["BINDERY_URL"])
        if is_lost and response.status < 300:
            # A date has no fractions of a second.
            due = math.ceil(time.time() + 1)
            return self.lose(key, formatdate(due, usegmt=True), due)
        return response

    def lose(self, key: tuple[str, str, str], retry_after: str, due: float) -> Response:
        """Returns a 503 as a gateway sends it."""
        self.due[key] = due
        return Response(503, {"Retry-After": retry_after}, b'{"message": "Service Unavailable"}')


def take(events: TenantEvents, count: int) -> list[dict[str, Any]]:
    """Waits until there are this many events and no more arrive. Returns each event once."""
    found: dict[str, Any] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        taken = events.take(wait_seconds=1)
        found.update({event["event_id"]: event for event in taken})
        if len(found) >= count and not taken:
            break
    return list(found.values())


def install() -> None:
    """Installs what the clients need: a virtual environment, npm packages, and the API's types."""
    subprocess.run([ROOT / "infra/local/venv", VENV, EXAMPLES / "requirements.txt"], check=True)
    check("npm is installed", shutil.which("npm"))
    for command in (["npm", "ci", "--ignore-scripts", "--silent"], ["npm", "run", "generate"], ["npm", "run", "build"]):
        done = subprocess.run(command, cwd=EXAMPLES / "typescript", stdout=subprocess.DEVNULL)
        check(" ".join(command), done.returncode == 0)


def run(*command: str | Path, **variables: str) -> str:
    """Runs a client, which must succeed, and returns its output."""
    environment = {**os.environ, "PATH": PATH, **variables}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=EXAMPLES, timeout=240)
    check(f"{' '.join(str(part) for part in command[-2:])} succeeds", done.returncode == 0)
    return done.stdout


def exchange(name: str, *command: str | Path) -> tuple[str, list[dict[str, Any]]]:
    """Runs a client through the gateway, checks its effects, and returns its output and the events."""
    mine, theirs = TenantEvents(f"checker-{name}", TENANT), TenantEvents(f"client-{name}", TENANT)
    gateway = Gateway()
    with serving(gateway.respond) as url:
        printed = run(*command, EVENTS_QUEUE_URL=theirs.url, BINDERY_URL=url, BINDERY_TOKEN=TOKEN)
    published = take(mine, sum(EVENTS.values()))
    mine.remove()
    theirs.remove()
    check(f"{name}: each instruction took effect once", Counter(event["event_type"] for event in published) == EVENTS)
    check(f"{name}: all events have one correlation ID", len({event["cid"] for event in published}) == 1)
    keyed = [count for (_, _, key), count in gateway.requests.items() if key]
    check(f"{name}: four instructions, each sent twice with its key", keyed == [2, 2, 2, 2])
    check(f"{name}: no request was repeated before its `Retry-After`, in seconds or as a date", not gateway.early)
    return printed, published


TOKEN = token("--tenant", TENANT)
install()
for name, command in (("curl", ["./bulk.sh"]), ("python", [VENV / "bin/python", "bulk.py"])):
    printed, published = exchange(name, *command)
    check(f"{name}: it received all events", all(event["event_id"] in printed for event in published))
printed, _ = exchange("typescript", "node", "typescript/built/bulk.js")
check("typescript: it read each item's result", printed.count("EXTERNAL_ID_AND_CARD_CANCELED") == 2)
print(run(VENV / "bin/python", "dotnet-xml/replay.py"), end="")
