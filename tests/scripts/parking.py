"""Tests on the deployed stack how an operator parks dead letters, and gets the operator's tool from a release."""

import json
import os
import platform
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from checks import ROOT, Request, Response, check, eventually, forward, serving
from deployed_stack import (
    BINARIES,
    PATIENCE_SECONDS,
    bind,
    bindery,
    binds_wait,
    depth,
    refusing,
    run,
    sqs,
    state_of,
    url_of,
)
from tenant_events import TenantEvents

FEED, DEAD, PARKED = "order-feed", "order-feed-dead-letters", "parked"
REASON = "ticket 7: sent by another team's käse"
# A dead letter as a worker sends it, with attributes that another sender may have added.
ATTRIBUTES = {
    "reason": {"DataType": "String", "StringValue": "unreadable message"},
    "source_message_id": {"DataType": "String", "StringValue": "1"},
    "number": {"DataType": "Number", "StringValue": "7"},
    "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
}


def received(queue: str) -> dict[str, Any]:
    """Receives the only message of a queue, with its attributes, and leaves it visible."""
    url = url_of(queue)
    [message] = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], WaitTimeSeconds=5)["Messages"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    return message


def parked() -> list[dict[str, Any]]:
    """Returns the parked messages, as the operator's tool prints them."""
    return json.loads(bindery("--json", "dead-letters", "parked"))


def keeping() -> AbstractContextManager[str]:
    """Yields the URL of a proxy to AWS that refuses to delete messages, as if the tool died before."""

    def respond(request: Request) -> Response:
        if request.headers.get("x-amz-target") == "AmazonSQS.DeleteMessage":
            return Response(400, body=b'{"__type": "ReceiptHandleIsInvalid", "message": "no"}')
        return forward(request, os.environ["AWS_ENDPOINT_URL"])

    return serving(respond)


def a_parked_message_is_moved_unchanged_and_back() -> None:
    """Parks one of two dead letters, and moves it back."""
    bodies = ["not an order: {\u00e4}", "<another/>"]
    send = {"QueueUrl": url_of(DEAD), "MessageAttributes": ATTRIBUTES}
    first, second = (sqs.send_message(**send, MessageBody=body)["MessageId"] for body in bodies)
    park = ["dead-letters", "park", FEED, "--message", first, "--reason", REASON]
    refused = run(*park)
    check("parking requires a confirmation", refused.returncode == 1 and (depth(DEAD), depth(PARKED)) == (2, 0))
    for reason in ([], ["--reason", " "], ["--reason", "a\nb"]):
        refused = run("--yes", *park[:-2], *reason)
        check(f"and a reason of one line, not {reason}", refused.returncode == 2 and depth(PARKED) == 0)
    with refusing(b"not an order") as address:
        done = run("--yes", *park, AWS_ENDPOINT_URL=address)
    check("a message that SQS refuses is reported", done.returncode == 1 and first in done.stderr)
    check("and stays where it was", (depth(DEAD), depth(PARKED)) == (2, 0))

    shown = bindery("--yes", *park)
    check("the tool prints when the message expires", "SQS deletes them at 20" in shown)
    check("only that message is moved", (depth(DEAD), depth(PARKED)) == (1, 1))
    [row] = parked()
    wanted = {"queue": FEED, "reason": "unreadable message", "parked_reason": REASON}
    check("it is listed with both reasons", {name: row[name] for name in wanted} == wanted or print(row))
    check("and the same time at which it expires", row["expires"][:10] in shown and row["parked_at"][:10] not in shown)
    queues = {one["queue"]: one for one in json.loads(bindery("--json", "queues"))}
    check("`bindery queues` shows it", (queues[PARKED]["waiting"], queues[PARKED]["dead"]) == (1, None))
    check("and the dead letter that is left", queues[FEED]["dead"] == 1)
    message = received(PARKED)
    own = {name: value for name, value in message["MessageAttributes"].items() if name in ATTRIBUTES}
    check("body and attributes are unchanged", (message["Body"], own) == (bodies[0], ATTRIBUTES) or print(message))
    others = run("dead-letters", "parked", "bind-card")
    check("another queue's list does not have it", others.returncode == 0 and first not in others.stdout)

    wrong = run("--yes", "dead-letters", "unpark", "bind-card", "--message", row["message"])
    check("it is not moved to another queue's dead letters", wrong.returncode == 1 and depth(PARKED) == 1)
    sqs.send_message(QueueUrl=url_of(PARKED), MessageBody="not parked by the tool")
    done = run("--json", "--yes", "dead-letters", "unpark", "--all")
    check("a message of unknown origin stays", done.returncode == 1 and "parked_queue" in done.stderr)
    check("and the other is moved back", [one["message"] for one in json.loads(done.stdout)] == [row["message"]])
    check("there are two dead letters again", (depth(DEAD), depth(PARKED)) == (2, 1))
    sqs.purge_queue(QueueUrl=url_of(PARKED))
    bindery("--yes", "dead-letters", "park", FEED, "--message", second, "--reason", "alone")
    message = received(DEAD)
    check("the message is as it was before", (message["Body"], message["MessageAttributes"]) == (bodies[0], ATTRIBUTES))
    for queue in (DEAD, PARKED):
        sqs.purge_queue(QueueUrl=url_of(queue))


def two_copies_of_a_parked_message_have_one_effect(events: TenantEvents, card: int) -> None:
    """Lets the tool die between sending and deleting, and sends both copies back to the worker."""
    dead, queue = "bind-card-dead-letters", url_of("bind-card")
    with binds_wait():
        operation = bind(card)
        [message] = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
        sqs.send_message(QueueUrl=url_of(dead), MessageBody=message["Body"])
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    with keeping() as address:
        park = ["--yes", "dead-letters", "park", "bind-card", "--operation", operation, "--reason", "a test"]
        done = run(*park, AWS_ENDPOINT_URL=address)
    check("a crash is reported", done.returncode == 1 and "too" in done.stderr)
    check("it leaves a copy in each queue", (depth(dead), depth(PARKED)) == (1, 1))
    bindery("--yes", "dead-letters", "unpark", "bind-card", "--operation", operation)
    check("both are dead letters now", (depth(dead), depth(PARKED)) == (2, 0))
    bindery("--yes", "redrive", "bind-card", "--operation", operation)
    taken: list[dict[str, Any]] = []

    def both_are_handled() -> bool:
        taken.extend(events.take())
        return len(taken) >= 2

    eventually("each copy publishes the outcome", both_are_handled, PATIENCE_SECONDS)
    check("which is one event", len({event["event_id"] for event in taken}) == 1 or print(taken))
    check("of one bind", (taken[0]["data"]["card_id"], taken[0]["data"]["status"]) == (card, "SUCCESS"))
    check("and the operation has succeeded", state_of(operation) == "SUCCEEDED" and depth(dead) == 0)


def send_a_strange_message() -> str:
    """Sends a message that is not an order to the orders' queue, and returns the ID of its dead letter."""
    sqs.send_message(QueueUrl=url_of(FEED), MessageBody="not an order")
    eventually("the message is dead-lettered", lambda: depth(DEAD) == 1, PATIENCE_SECONDS)
    [row] = json.loads(bindery("--json", "dead-letters", FEED))
    check("with the reason", row["reason"].startswith("unreadable message") or print(row))
    return row["message"]


@contextmanager
def a_release() -> Iterator[dict[str, str]]:
    """Yields the variables of a release that has this build of the tool, and of a home folder of its own.

    Its files have the names and the form of those that release.yml makes.
    """
    with tempfile.TemporaryDirectory() as folder:
        home, release = Path(folder) / "home", Path(folder) / "release"
        home.mkdir()
        release.mkdir()
        architecture = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
        name = f"linux-{architecture}"
        check(f"a release has the tool for {name}", f"platform: {name}" in workflow())
        archive = release / f"bindery-{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as file:
            file.add(BINARIES / "bindery", "bindery")
        sums = f"{'0' * 64}  another-file\n{sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n"
        (release / "SHA256SUMS").write_text(sums)
        yield {"HOME": str(home), "BINDERY_RELEASE": release.as_uri()}


def installed(release: dict[str, str]) -> Path:
    """Returns the file that the runbook installs from the release."""
    return Path(release["HOME"]) / "bindery" / "bindery"


def a_replaced_tool_is_not_installed() -> None:
    """Pastes the runbook's block into a shell without `set -e`, with an archive that does not match its checksum."""
    runbook = (ROOT / "infra" / "RUNBOOK.md").read_text()
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", runbook, re.DOTALL) if "SHA256SUMS" in block]
    with a_release() as release:
        for archive in Path(release["BINDERY_RELEASE"].removeprefix("file://")).glob("*.gz"):
            archive.write_bytes(archive.read_bytes() + b"more")
        done = subprocess.run(["bash", "-c", block], env=os.environ | release, capture_output=True, text=True)
        check("a replaced archive is reported", "FAILED" in done.stdout or print(done))
        check("and is not unpacked", not installed(release).exists())


def workflow() -> str:
    """Returns the workflow that makes a release."""
    return (ROOT / ".github" / "workflows" / "release.yml").read_text()


def credentials_of_cloudshell_suffice() -> None:
    """Gives the tool credentials only as CloudShell does: from a server on localhost that wants a token."""
    asked = []

    def respond(request: Request) -> Response:
        asked.append((request.path, request.headers.get("authorization")))
        given = {"AccessKeyId": "test", "SecretAccessKey": "test", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
        return Response(200, {"content-type": "application/json"}, json.dumps(given).encode())

    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": ""}
    none |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    with serving(respond) as address:
        path = "/latest/meta-data/container/security-credentials"
        uri = address.replace("127.0.0.1", "localhost") + path
        given = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret"}
        done = run("--json", "queues", **none, **given)
    check("the tool works with CloudShell's credentials", done.returncode == 0 or print(done.stderr))
    check("which it has asked for", asked == [(path, "secret")] or print(asked))
