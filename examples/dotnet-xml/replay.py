#!/usr/bin/env python3
"""Sends what a .NET client sends to cancel orders, byte for byte, and compares the answers byte for byte.

Requests are as DataContractSerializer writes them, and so are the answers that it reads: names, order and spelling of
every namespace, member and null count. `source target/local/env` first. Plays the broker's order system besides, and is
a tenant of its own, so that it can be run again. Needs what ../requirements.txt names.
"""

import json
import os
import shlex
import subprocess
import time
import uuid
from pathlib import Path

import boto3
import httpx

HERE = Path(__file__).parent
TENANT = f"TN-{uuid.uuid4()}"
CREATOR, CREATOR_WITH_PIN, PIN = 98765, 98766, "<&>\"' é"
UID = "6269c403-5b9f-47dd-b8c3-7ecbef8f686d"
ORDERS = (
    ({"order_id": 12345}, CREATOR, "ACTIVE"),
    ({"international_order_uid": UID}, CREATOR, "PARTIALLY_FILLED"),
    ({"order_id": 2200}, CREATOR, "FILLED"),
    ({"order_id": 12346}, CREATOR_WITH_PIN, "ACTIVE"),
    ({"order_id": 12348}, CREATOR_WITH_PIN, "ACTIVE"),
)
# The recording, the status, and whether there is an operation, whose ID is the one thing that is generated.
EXCHANGES = (("1-seed", 200, True), ("2-refused", 200, True), ("3-empty", 200, False), ("4-unreadable", 400, False))
PATIENCE_SECONDS = 60


def command(*arguments: str, text: str = "") -> str:
    """What a command prints."""
    environment = {**os.environ, "BINDERY_TENANT": TENANT}
    return subprocess.run(arguments, env=environment, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout


def feed() -> None:
    """Tells of the orders, as the order system does, and waits until they are known."""
    sqs, dynamodb = boto3.client("sqs"), boto3.client("dynamodb")
    for order, creator, status in ORDERS:
        change = {"org_id": TENANT, **order, "creator_id": creator, "status": status, "version": 1}
        change["updated_at"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        sqs.send_message(QueueUrl=os.environ["ORDER_FEED_QUEUE_URL"], MessageBody=json.dumps(change))
    for order, _, _ in ORDERS:
        name = f"INTL#{UID}" if "international_order_uid" in order else f"ORDER#{order['order_id']}"
        key = {"pk": {"S": f"{TENANT}#{name}"}, "sk": {"S": "ORDER"}}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "Item" not in dynamodb.get_item(TableName=os.environ["TABLE_NAME"], Key=key, ConsistentRead=True):
            if time.monotonic() > deadline:
                raise SystemExit(f"order {name} was not taken in within {PATIENCE_SECONDS} s")
            time.sleep(0.2)


def replay(name: str, status: int, is_operation: bool, token: str) -> None:
    """Sends the recorded request; the answer must be the recorded one."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/xml"}
    headers["Content-Type"] = "application/xml; charset=utf-8"
    request = (HERE / f"{name}-request.xml").read_bytes()
    expected = (HERE / f"{name}-answer.xml").read_bytes()
    url = os.environ["BINDERY_URL"] + "/api/orders/cancellations"
    answer = httpx.post(url, content=request, headers=headers, timeout=30)
    got = (answer.status_code, answer.headers["Content-Type"], "Location" in answer.headers, answer.content)
    if got != (status, "application/xml; charset=utf-8", is_operation, expected):
        raise SystemExit(f"{name}: expected\n{status} {expected.decode()}\nand got\n{answer.status_code} {answer.text}")
    print(f"{name}: {len(request)} bytes sent, {len(expected)} bytes as recorded")


BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")) / "debug"
command(str(BINARIES / "bindery"), "--yes", "pin", str(CREATOR_WITH_PIN), text=f"{PIN}\n")
token_command = shlex.split(os.environ["BINDERY_TOKEN_COMMAND"])
access_token = command(*token_command, "--tenant", TENANT, "--scope", "orders:cancel").strip()
feed()
for exchange in EXCHANGES:
    replay(*exchange, access_token)
