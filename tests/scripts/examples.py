#!/usr/bin/env python3
"""Runs the clients in examples/ against the stack whose variables are set, and looks at what they did there.

Called by ./tests/run. Between client and API stands a gateway that loses answers: the first answer to each instruction
is a 503 although it took effect, and each thing is out of reach when it is read first. So a client only comes through
by waiting as it is told, and by saying the same again under the same key.
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
# What a bulk of three comes to: created, one bound, two canceled, the cancel done.
EVENTS = Counter(
    {"create": 3, "bind_card": 1, "noname_cancellation": 2, "noname_bulk_start": 1, "noname_bulk_cancellation": 1}
)


class Gateway:
    """Passes requests on, but for what it loses: of instructions a client is told a date to wait for, else seconds."""

    def __init__(self) -> None:
        self.said: Counter[tuple[str, str, str]] = Counter()
        # When each thing that was lost may be said again, and what came before that.
        self.due: dict[tuple[str, str, str], float] = {}
        self.early: list[tuple[str, str, str]] = []

    def respond(self, request: Request) -> Response:
        """Responds as the API does, from the second time on."""
        key = (request.method, request.path, request.headers.get("idempotency-key", ""))
        self.said[key] += 1
        is_lost = self.said[key] == 1
        if self.said[key] == 2 and time.time() < self.due[key]:
            self.early.append(key)
        if is_lost and request.method == "GET":
            return self.lose(key, "1", time.time() + 1)
        response = forward(request, os.environ["BINDERY_URL"])
        if is_lost and response.status < 300:
            # The date has no fraction of a second.
            due = math.ceil(time.time() + 1)
            return self.lose(key, formatdate(due, usegmt=True), due)
        return response

    def lose(self, key: tuple[str, str, str], retry_after: str, due: float) -> Response:
        """What an API says that cannot say more."""
        self.due[key] = due
        return Response(503, {"Retry-After": retry_after}, b'{"message": "Service Unavailable"}')


def take(events: TenantEvents, count: int) -> list[dict[str, Any]]:
    """The events, each once, as soon as there are so many; and what else comes within a moment."""
    found: dict[str, Any] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        taken = events.take(wait_seconds=1)
        found.update({event["event_id"]: event for event in taken})
        if len(found) >= count and not taken:
            break
    return list(found.values())


def install() -> None:
    """What the clients need: a virtual environment, packages of npm, and the types of the API."""
    subprocess.run([ROOT / "infra/local/venv", VENV, EXAMPLES / "requirements.txt"], check=True)
    check("Node's npm is there", shutil.which("npm"))
    for command in (["npm", "ci", "--ignore-scripts", "--silent"], ["npm", "run", "generate"], ["npm", "run", "build"]):
        done = subprocess.run(command, cwd=EXAMPLES / "typescript", stdout=subprocess.DEVNULL)
        check(" ".join(command), done.returncode == 0)


def run(*command: str | Path, **variables: str) -> str:
    """What a client prints, once it has come to its end."""
    environment = {**os.environ, "PATH": PATH, **variables}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=EXAMPLES, timeout=240)
    check(f"{' '.join(str(part) for part in command[-2:])} has come to its end", done.returncode == 0)
    return done.stdout


def exchange(name: str, *command: str | Path) -> tuple[str, list[dict[str, Any]]]:
    """Has a client do its work through the gateway, and looks at what came of it: what it printed, and the events."""
    mine, theirs = TenantEvents(f"checker-{name}", TENANT), TenantEvents(f"client-{name}", TENANT)
    gateway = Gateway()
    with serving(gateway.respond) as url:
        printed = run(*command, EVENTS_QUEUE_URL=theirs.url, BINDERY_URL=url, BINDERY_TOKEN=TOKEN)
    told = take(mine, sum(EVENTS.values()))
    mine.remove()
    theirs.remove()
    check(f"{name}: each took effect once", Counter(event["event_type"] for event in told) == EVENTS)
    check(f"{name}: all with one correlation ID", len({event["cid"] for event in told}) == 1)
    keyed = [count for (_, _, key), count in gateway.said.items() if key]
    check(f"{name}: four instructions, each said twice under its key", keyed == [2, 2, 2, 2])
    check(f"{name}: nothing was said again before its time, told in seconds or as a date", not gateway.early)
    return printed, told


TOKEN = token("--tenant", TENANT)
install()
for name, command in (("curl", ["./bulk.sh"]), ("python", [VENV / "bin/python", "bulk.py"])):
    printed, told = exchange(name, *command)
    check(f"{name}: it saw all of that", all(event["event_id"] in printed for event in told))
printed, _ = exchange("typescript", "node", "typescript/built/bulk.js")
check("typescript: it saw what became of each", printed.count("EXTERNAL_ID_AND_CARD_CANCELED") == 2)
print(run(VENV / "bin/python", "dotnet-xml/replay.py"), end="")
