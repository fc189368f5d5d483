"""Uses the stack whose variables are set as clients and operators do, with a new tenant and the operator's tool."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import requests
from checks import ROOT, Request, Response, check, eventually, forward, serving, token
from tenant_events import TenantEvents

STACK = os.environ["BINDERY_STACK"]
TABLE = os.environ["TABLE_NAME"]
TENANT = f"TN-{uuid.uuid4()}"
# Numbers that are used nowhere else.
ACCOUNT, CUSTOMER = "400155667788", "700155667788"
PATIENCE_SECONDS = 90
BINARIES = (ROOT / os.environ.get("CARGO_TARGET_DIR", "target")) / "debug"
TOKEN = token("--tenant", TENANT, "--account", ACCOUNT)

sqs, functions = boto3.client("sqs"), boto3.client("lambda")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the operator's tool without a terminal."""
    command, environment = [BINARIES / "bindery", *arguments], {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def bindery(*arguments: str) -> str:
    """Returns the output of the operator's tool, which must succeed."""
    done = run(*arguments)
    check(f"bindery {' '.join(arguments[:4])}", done.returncode == 0 or print(done.stderr))
    return done.stdout


def send(method: str, path: str, **options: Any) -> requests.Response:
    """Sends a request of the tenant's account to the API."""
    headers = {"Authorization": f"Bearer {TOKEN}", "x-account-id": ACCOUNT, "x-customer-id": CUSTOMER}
    return requests.request(method, os.environ["BINDERY_URL"] + path, headers=headers, timeout=30, **options)


def call(method: str, path: str, expected: int, **options: Any) -> Any:
    """Sends a request whose response must have this status, and returns the response's body."""
    response = send(method, path, **options)
    if response.status_code != expected:
        raise SystemExit(f"FAILED: {method} {path}: {response.status_code} {response.text}")
    return response.json()


def bind_path(card: int) -> str:
    """Returns the path at which the card is bound."""
    return f"/wallet/v2/cards/{card}/noname/bind"


def bind(card: int) -> str:
    """Binds the card, and returns the operation."""
    return call("PUT", bind_path(card), 202)["operation_id"]


def issue(events: TenantEvents, count: int) -> list[int]:
    """Issues this many cards, and returns their IDs."""
    body = {"program_id": 1, "external_ids": [f"card-{number}" for number in range(count)]}
    bulk = call("POST", "/cards/v1/bulks", 201, json=body)["id"]
    call("POST", f"/cards/v1/bulks/{bulk}/start", 202)
    cards: set[int] = set()
    ends = []

    def all_are_there() -> bool:
        for event in events.take():
            if event["event_type"] == "create":
                cards.add(event["data"]["card_id"])
            else:
                ends.append(event["data"]["issued"])
        return len(cards) == count and ends == [count]

    eventually(f"{count} cards are issued, and the start has ended", all_are_there, PATIENCE_SECONDS)
    return sorted(cards)


def take_bound(events: TenantEvents, wanted: set[int], among_others: bool = False) -> None:
    """Waits for the events of these cards' binds."""
    bound: set[int] = set()

    def all_are_bound() -> bool:
        data = [event["data"] for event in events.take()]
        bound.update(
            one["card_id"] for one in data if (one.get("operation_type"), one["status"]) == ("BIND_NONAME", "SUCCESS")
        )
        return bound >= wanted

    eventually(f"{len(wanted)} card(s) are bound", all_are_bound, PATIENCE_SECONDS)
    check("and no other", bound == wanted or among_others)


def state_of(operation: str) -> str:
    """Returns the operation's state, as the operator's tool prints it."""
    return json.loads(bindery("--json", "operation", operation, "--tenant", TENANT))["state"]


def url_of(queue: str) -> str:
    """Returns the URL of a queue of the stack."""
    return sqs.get_queue_url(QueueName=f"{STACK}-{queue}")["QueueUrl"]


def depth(queue: str) -> int:
    """Returns the number of waiting messages, which is also CloudWatch's metric."""
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url_of(queue), AttributeNames=[name])["Attributes"][name])


def mappings() -> dict[str, dict[str, Any]]:
    """Returns the event source mappings of the stack's functions, by the function's name without the stack's."""
    pages = functions.get_paginator("list_event_source_mappings").paginate()
    found = {one["FunctionArn"].split(":")[6]: one for page in pages for one in page["EventSourceMappings"]}
    return {name.removeprefix(f"{STACK}-"): one for name, one in found.items() if name.startswith(f"{STACK}-")}


@contextmanager
def binds_wait() -> Iterator[None]:
    """Stops the worker of binds within the context."""
    uuid_of_mapping = mappings()["bind-card-worker"]["UUID"]
    functions.update_event_source_mapping(UUID=uuid_of_mapping, Enabled=False)
    yield
    functions.update_event_source_mapping(UUID=uuid_of_mapping, Enabled=True)


def refusing(words: bytes) -> Any:
    """Yields the URL of a proxy to AWS that refuses to send messages containing these words."""

    def respond(request: Request) -> Response:
        is_sent = request.headers.get("x-amz-target") == "AmazonSQS.SendMessage"
        if is_sent and words in request.body:
            return Response(400, body=b'{"__type": "InvalidParameterValue", "message": "no"}')
        return forward(request, os.environ["AWS_ENDPOINT_URL"])

    return serving(respond)
