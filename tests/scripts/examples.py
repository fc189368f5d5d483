#!/usr/bin/env python3
"""Runs the clients in examples/ against the stack whose variables are set, and looks at what they did there.

Called by ./tests/run. Between client and API stands a gateway that loses answers: the first answer to each instruction
is a 503 although it took effect, and each thing is out of reach when it is read first. So a client only comes through
by waiting as it is told, and by saying the same again under the same key.
"""

import json
import math
import os
import shlex
import shutil
import subprocess
import threading
import time
import uuid
from collections import Counter
from email.utils import formatdate
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
VENV = ROOT / "target" / "examples-venv"
# The AWS CLI is one of the tests' tools.
PATH = f"{ROOT / 'target/tests-venv/bin'}:{os.environ['PATH']}"
TENANT = f"TN-{uuid.uuid4()}"
# What a bulk of three comes to: created, one bound, two canceled, the cancel done.
EVENTS = Counter(
    {"create": 3, "bind_card": 1, "noname_cancellation": 2, "noname_bulk_start": 1, "noname_bulk_cancellation": 1}
)
PATIENCE_SECONDS = 60
API = urlsplit(os.environ["BINDERY_URL"])
HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding"}


def check(what: str, holds: object) -> None:
    """Says what holds, or ends here."""
    if not holds:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


class Gateway(BaseHTTPRequestHandler):
    """Hands requests on, but for what it loses: of instructions a client is told a date to wait for, else seconds."""

    said: Counter[tuple[str, str, str]] = Counter()
    # When each thing that was lost may be said again, and what came before that.
    due: dict[tuple[str, str, str], float] = {}
    early: list[tuple[str, str, str]] = []

    def forward(self) -> None:
        """Answers as the API does, from the second time on."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = (self.command, self.path, self.headers.get("Idempotency-Key", ""))
        self.said[request] += 1
        is_lost = self.said[request] == 1
        if self.said[request] == 2 and time.time() < self.due[request]:
            self.early.append(request)
        if is_lost and self.command == "GET":
            return self.lose(request, "1", time.time() + 1)
        connection = HTTPConnection(API.hostname or "", API.port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        connection.request(self.command, API.path + self.path, body, headers)
        answer = connection.getresponse()
        if is_lost and answer.status < 300:
            # The date has no fraction of a second.
            due = math.ceil(time.time() + 1)
            return self.lose(request, formatdate(due, usegmt=True), due)
        self.hand_on(answer)

    do_GET = do_POST = do_PUT = forward  # noqa: N815 (the base class's names)

    def hand_on(self, answer: HTTPResponse) -> None:
        """The API's own answer."""
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.reply(answer.read())

    def lose(self, request: tuple[str, str, str], retry_after: str, due: float) -> None:
        """What an API says that cannot say more."""
        self.due[request] = due
        self.send_response(503)
        self.send_header("Retry-After", retry_after)
        self.reply(b'{"message": "Service Unavailable"}')

    def reply(self, body: bytes) -> None:
        """The end of an answer."""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps quiet."""


class Queue:
    """A queue of its own for each consumer, with this tenant's events."""

    def __init__(self, name: str) -> None:
        self.sqs, self.bus = boto3.client("sqs"), boto3.client("events")
        self.rule = {"Rule": f"{name}-{TENANT}", "EventBusName": os.environ["EVENT_BUS_NAME"]}
        self.url = self.sqs.create_queue(QueueName=self.rule["Rule"])["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": ["bindery"], "detail": {"org_id": [TENANT]}})
        self.bus.put_rule(Name=self.rule["Rule"], EventBusName=self.rule["EventBusName"], EventPattern=pattern)
        self.bus.put_targets(**self.rule, Targets=[{"Id": "queue", "Arn": arn}])

    def take(self, count: int) -> list[dict[str, Any]]:
        """The events, each once, as soon as there are so many; and what else comes within a moment."""
        found: dict[str, Any] = {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            messages = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in messages.get("Messages", []):
                event = json.loads(message["Body"])["detail"]
                found[event["event_id"]] = event
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            if len(found) >= count and not messages.get("Messages"):
                break
        return list(found.values())

    def remove(self) -> None:
        """Leaves nothing behind."""
        self.bus.remove_targets(**self.rule, Ids=["queue"])
        self.bus.delete_rule(Name=self.rule["Rule"], EventBusName=self.rule["EventBusName"])
        self.sqs.delete_queue(QueueUrl=self.url)


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
    mine, theirs = Queue(f"checker-{name}"), Queue(f"client-{name}")
    for record in (Gateway.said, Gateway.due, Gateway.early):
        record.clear()
    printed = run(*command, EVENTS_QUEUE_URL=theirs.url, BINDERY_URL=URL, BINDERY_TOKEN=TOKEN)
    told = mine.take(sum(EVENTS.values()))
    mine.remove()
    theirs.remove()
    check(f"{name}: each took effect once", Counter(event["event_type"] for event in told) == EVENTS)
    check(f"{name}: all with one correlation ID", len({event["cid"] for event in told}) == 1)
    keyed = [count for (_, _, key), count in Gateway.said.items() if key]
    check(f"{name}: four instructions, each said twice under its key", keyed == [2, 2, 2, 2])
    check(f"{name}: nothing was said again before its time, told in seconds or as a date", not Gateway.early)
    return printed, told


TOKEN = subprocess.check_output(
    [*shlex.split(os.environ["BINDERY_TOKEN_COMMAND"]), "--tenant", TENANT], text=True
).strip()
gateway = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
URL = f"http://127.0.0.1:{gateway.server_port}"
threading.Thread(target=gateway.serve_forever, daemon=True).start()

install()
for name, command in (("curl", ["./bulk.sh"]), ("python", [VENV / "bin/python", "bulk.py"])):
    printed, told = exchange(name, *command)
    check(f"{name}: it saw all of that", all(event["event_id"] in printed for event in told))
printed, _ = exchange("typescript", "node", "typescript/built/bulk.js")
check("typescript: it saw what became of each", printed.count("EXTERNAL_ID_AND_CARD_CANCELED") == 2)
print(run(VENV / "bin/python", "dotnet-xml/replay.py"), end="")
