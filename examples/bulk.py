"""Creates and starts a bulk of cards with httpx, binds one card, cancels the rest, and reads the events.

Run `source target/local/env` first. Needs the packages in requirements.txt.
"""

import calendar
import json
import os
import time
import uuid
from email.utils import parsedate_tz
from typing import Any

import boto3
import httpx

CID = f"example-python-{uuid.uuid4()}"
PATIENCE_SECONDS = 120
TRIES = 6

api = httpx.Client(
    base_url=os.environ["BINDERY_URL"],
    headers={"Authorization": f"Bearer {os.environ['BINDERY_TOKEN']}", "x-correlation-id": CID},
    timeout=30,
)


def seconds_to_wait(retry_after: str, otherwise: float) -> float:
    """Returns the seconds that `Retry-After` asks for, as a number or as a date in GMT (RFC 9110, 10.2.3)."""
    if retry_after.isdecimal():
        return float(retry_after)
    date = parsedate_tz(retry_after)
    return max(0.0, calendar.timegm(date[:6]) - time.time()) if date else otherwise


def request(method: str, path: str, **options: Any) -> Any:
    """Returns the response's body. Retries a request that may succeed later, when `Retry-After` says so."""
    for attempt in range(1, TRIES + 1):
        wait = 0.2 * 2**attempt
        try:
            response = api.request(method, path, **options)
        except httpx.TransportError:
            # It is unknown whether the request took effect. The instruction's key makes it safe to repeat.
            if attempt == TRIES:
                raise
        else:
            if response.status_code not in (429, 503) or attempt == TRIES:
                break
            wait = seconds_to_wait(response.headers.get("Retry-After", ""), wait)
        time.sleep(wait)
    if response.is_error:
        raise SystemExit(f"{method} {path}: {response.status_code} {response.text}")
    return response.json()


def instruct(name: str, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> Any:
    """Sends an instruction with its own key: if it is sent again, the operation is the same."""
    return request(method, path, headers={"Idempotency-Key": f'"{CID}-{name}"', **(headers or {})}, **options)


def follow(accepted: dict[str, Any]) -> None:
    """Waits for the operation's end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        operation = request("GET", f"/operations/{accepted['operation_id']}")
        if operation["status"] == "FAILED":
            raise SystemExit(f"the operation failed: {operation}")
        if operation["status"] == "SUCCEEDED":
            print(operation["kind"], operation["status"], operation["counts"])
            return
        time.sleep(0.3)
    raise SystemExit(f"the operation did not end within {PATIENCE_SECONDS} s")


def events(count: int) -> dict[str, Any]:
    """Returns this many events, by ID. Events are delivered at least once, in any order."""
    sqs, url, found = boto3.client("sqs"), os.environ["EVENTS_QUEUE_URL"], {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count and time.monotonic() < deadline:
        response = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2, VisibilityTimeout=10)
        for message in response.get("Messages", []):
            event = json.loads(message["Body"])["detail"]
            # The local stack's queue has the events of all clients. Your own queue would have only yours.
            if event["cid"] == CID:
                found[event["event_id"]] = event
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    if len(found) < count:
        raise SystemExit(f"only {len(found)} events arrived within {PATIENCE_SECONDS} s")
    return found


new = {"program_id": 1, "external_ids": ["a", "b", "c"]}
bulk = instruct("create", "POST", "/cards/v1/bulks", json=new)["id"]
print("bulk", bulk)
follow(instruct("start", "POST", f"/cards/v1/bulks/{bulk}/start"))

card = request("GET", f"/cards/v1/bulks/{bulk}")["items"][0]["card_id"]
customer = {"x-account-id": os.environ["BINDERY_ACCOUNT"], "x-customer-id": os.environ["BINDERY_CUSTOMER"]}
follow(instruct("bind", "PUT", f"/wallet/v2/cards/{card}/noname/bind", headers=customer))

rest = {"cancel_type": "PARTIAL", "external_ids": ["b", "c"]}
follow(instruct("cancel", "POST", f"/cards/v1/bulks/{bulk}/cancel", json=rest))

for event_id, event in events(7).items():
    print(event_id, event["event_type"], event["data"].get("external_id", ""))
