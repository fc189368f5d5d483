"""The demo of orders: plays the broker's order system, and cancels three of its four orders."""

import json
import os
import secrets
import subprocess
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

from .demo import WAIT_SECONDS, Api, show
from .deploy import client
from .settings import DEMO_TENANT, StackError, binary

CREATOR = 98765
OTHER_CREATOR = 98766
PIN_CREATOR = 98767
ORDER_IDS = 2_000_000_000
JSON = {"Content-Type": "application/json"}
XML = {"Content-Type": "application/xml", "Accept": "application/xml"}


def run(api: Api) -> None:
    """Feeds the orders, requests the cancellation of three, reports their outcome, and shows the events."""
    first = new_order_id()
    uid = f"6269c403-5b9f-47dd-b8c3-{first:012x}"
    domestic = [{"order_id": number, "creator_id": CREATOR} for number in (first, first + 1, first + 2)]
    international = {"international_order_uid": uid, "creator_id": OTHER_CREATOR}
    print("==> The demo of orders: the order system feeds four orders; three of them are canceled\n")
    for order in (*domestic, international):
        feed(api, order, "ACTIVE", version=1)
    for order in (*domestic, international):
        wait_for(api, order)

    entries = [
        {"OrderID": first, "CreatorID": CREATOR, "PIN": None, "IsInternationalOrder": False},
        {"CreatorID": OTHER_CREATOR, "IsInternationalOrder": True, "InternationalOrderUID": uid},
        {"OrderID": first + 7, "CreatorID": CREATOR},
    ]
    operation = cancel(api, JSON, json.dumps(entries))
    cancel(
        api,
        XML,
        '<ArrayOfCancellationCreation xmlns="http://schemas.datacontract.org/2004/07/"><CancellationCreation>'
        f"<OrderID>{first + 1}</OrderID></CancellationCreation></ArrayOfCancellationCreation>",
    )
    requested = api.events(3)
    show("An event cancellation_requested", requested[0])
    print("  The order system reports on all three: two are canceled, one was filled before.\n")
    feed(api, domestic[0], "CANCELED", version=2)
    feed(api, international, "CANCELED", version=2)
    feed(api, domestic[1], "FILLED", version=2)
    for event in api.events(3):
        show(f"The event {event['event_type']}", event)
    show("The operation of the first request", api.call("GET", operation, 200).json())


def new_order_id() -> int:
    """Returns a random order ID. One based on the clock could collide with those of a recent run."""
    return 1 + secrets.randbelow(ORDER_IDS)


def order_with_pin(api: Api) -> dict[str, str]:
    """Feeds an order whose creator's PIN is 1234. Returns the variables with their IDs."""
    order = {"order_id": new_order_id(), "creator_id": PIN_CREATOR}
    feed(api, order, "ACTIVE", version=1)
    # Does the same as `bindery pin`, which may not be built yet.
    command = [str(binary("local-runner")), "set-pin", DEMO_TENANT, str(PIN_CREATOR), "1234"]
    done = subprocess.run(command, env={**os.environ, **api.variables}, capture_output=True, text=True)
    if done.returncode:
        raise StackError(f"setting the demo's PIN failed: {done.stderr.strip()}")
    wait_for(api, order)
    return {"BINDERY_ORDER": str(order["order_id"]), "BINDERY_CREATOR": str(PIN_CREATOR)}


def cancel(api: Api, headers: dict[str, str], body: str) -> str:
    """Sends and shows a request. Returns the URL of its operation."""
    print(f"  POST /api/orders/cancellations\n  {headers['Content-Type']}\n  {body}\n")
    response = api.call("POST", "/api/orders/cancellations", 200, data=body, headers=headers)
    print(f"  200\n  Location: {response.headers['Location']}\n  {response.text}\n")
    return urljoin(response.url, response.headers["Location"])


def feed(api: Api, order: dict[str, Any], status: str, version: int) -> None:
    """Sends a change of an order to the order feed, as the order system does."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    change = {"org_id": DEMO_TENANT, **order, "status": status, "version": version, "updated_at": now}
    client(api.settings, "sqs").send_message(
        QueueUrl=api.variables["ORDER_FEED_QUEUE_URL"], MessageBody=json.dumps(change)
    )


def wait_for(api: Api, order: dict[str, Any]) -> None:
    """Waits until the order is in the table."""
    name = f"ORDER#{order['order_id']}" if "order_id" in order else f"INTL#{order['international_order_uid']}"
    key = {"pk": {"S": f"{DEMO_TENANT}#{name}"}, "sk": {"S": "ORDER"}}
    table = client(api.settings, "dynamodb")
    deadline = time.monotonic() + WAIT_SECONDS
    while "Item" not in table.get_item(TableName=api.variables["TABLE_NAME"], Key=key, ConsistentRead=True):
        if time.monotonic() > deadline:
            raise StackError(f"the order feed was not processed within {WAIT_SECONDS} seconds: see {api.settings.logs}")
        time.sleep(0.2)
