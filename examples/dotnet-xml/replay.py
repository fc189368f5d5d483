#!/usr/bin/env python3
"""Sends a .NET client's recorded requests to cancel orders, and compares the responses byte for byte.

Requests and responses are as DataContractSerializer writes and reads them: the names, order and spelling of every
namespace, member and null matter. The script also acts as the broker's order system. It uses a new tenant, so it can be
run again. Run `source target/local/env` first. Needs the packages in ../requirements.txt.
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
# Recording, status, and whether the response has an operation. Only the operation's ID is generated.
EXCHANGES = (("1-seed", 200, True), ("2-refused", 200, True), ("3-empty", 200, False), ("4-unreadable", 400, False))
PATIENCE_SECONDS = 60


def command(*arguments: str, text: str = "") -> str:
    """Returns what a command prints."""
    environment = {**os.environ, "BINDERY_TENANT": TENANT}
    return subprocess.run(arguments, env=environment, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout


def feed() -> None:
    """Sends the orders to the feed, as the order system does, and waits until Bindery has stored them."""
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
                raise SystemExit(f"order {name} was not stored within {PATIENCE_SECONDS} s")
            time.sleep(0.2)


def replay(name: str, status: int, is_operation: bool, token: str) -> None:
    """Sends the recorded request and checks that the response is the recorded one."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/xml"}
    headers["Content-Type"] = "application/xml; charset=utf-8"
    request = (HERE / f"{name}-request.xml").read_bytes()
    expected = (HERE / f"{name}-response.xml").read_bytes()
    url = os.environ["BINDERY_URL"] + "/api/orders/cancellations"
    response = httpx.post(url, content=request, headers=headers, timeout=30)
    got = (response.status_code, response.headers["Content-Type"], "Location" in response.headers, response.content)
    if got != (status, "application/xml; charset=utf-8", is_operation, expected):
        received = f"{response.status_code} {response.text}"
        raise SystemExit(f"{name}: expected\n{status} {expected.decode()}\nand got\n{received}")
    print(f"{name}: {len(request)} bytes sent, {len(expected)} bytes as recorded")


BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")) / "debug"
command(str(BINARIES / "bindery"), "--yes", "pin", str(CREATOR_WITH_PIN), text=f"{PIN}\n")
token_command = shlex.split(os.environ["BINDERY_TOKEN_COMMAND"])
access_token = command(*token_command, "--tenant", TENANT, "--scope", "orders:cancel").strip()
feed()
for exchange in EXCHANGES:
    replay(*exchange, access_token)
