"""The demo: a few cards of a demo organisation, and a bind from its request to its event."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import requests

from . import environment, events
from .deploy import client
from .settings import DEMO_ACCOUNT, DEMO_CUSTOMER, DEMO_TENANT, Settings, StackError

WAIT_SECONDS = 30


def seed(settings: Settings, table: str) -> dict[str, str]:
    """Puts three new cards, two of them unbound; answers the variables that name them.

    Card IDs grow with the clock, so that every `up` has cards that nobody touched.
    """
    first = int(time.time() * 1000)
    bulk = f"demo-{first}"
    now = datetime.now(UTC)
    for number, bound in enumerate((False, False, True)):
        card_id = first + number
        item: dict[str, Any] = {
            "pk": {"S": f"{DEMO_TENANT}#CARD#{card_id}"},
            "sk": {"S": "CARD"},
            "card_id": {"N": str(card_id)},
            "status": {"S": "NORMAL" if bound else "UNBOUND"},
            "program_id": {"N": "1"},
            "bulk_id": {"S": bulk},
            "external_id": {"S": f"demo-card-{number + 1}"},
            "contactless_enabled": {"BOOL": True},
            "issuing_date": {"S": now.date().isoformat()},
            "expiration_date": {"S": now.date().replace(year=now.year + 6, day=1).isoformat()},
        }
        if bound:
            mark = {
                "by": {"S": str(uuid.uuid4())},
                "at": {"S": now.strftime("%Y-%m-%dT%H:%M:%S.000Z")},
                "account_id": {"N": str(DEMO_ACCOUNT)},
                "customer_id": {"N": str(DEMO_CUSTOMER)},
            }
            item["bound"] = {"M": mark}
        client(settings, "dynamodb").put_item(
            TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)"
        )
    return {
        "BINDERY_CARD": str(first),
        "BINDERY_DEMO_CARD": str(first + 1),
        "BINDERY_BOUND_CARD": str(first + 2),
    }


def run(settings: Settings) -> None:
    """Binds a card over HTTP and shows everything that comes of it."""
    variables = environment.read(settings)
    card = f"/cards/v1/cards/{variables['BINDERY_DEMO_CARD']}"
    cid = f"demo-{uuid.uuid4()}"
    print("==> The demo: binding a card\n")
    _show("Before", _request(variables, "GET", card).json())

    path = f"/wallet/v2/cards/{variables['BINDERY_DEMO_CARD']}/noname/bind"
    headers = {
        "x-account-id": variables["BINDERY_ACCOUNT"],
        "x-customer-id": variables["BINDERY_CUSTOMER"],
        "x-correlation-id": cid,
    }
    print(f"  PUT {path}")
    for name, value in headers.items():
        print(f"  {name}: {value}")
    answer = _request(variables, "PUT", path, headers)
    print(f"\n  {answer.status_code} {answer.reason}\n  Location: {answer.headers.get('Location')}\n  {answer.text}\n")
    if answer.status_code != 202:
        raise StackError(f"the demo's bind was not accepted: see {settings.logs}")

    found = events.wait_for(settings, variables["EVENTS_QUEUE_URL"], cid, 1, WAIT_SECONDS)
    if not found:
        raise StackError(f"the demo's bind brought no event within {WAIT_SECONDS} seconds: see {settings.logs}")
    for event in found:
        _show(f"Event {event['event_type']}", event)
    _show("After", _request(variables, "GET", card).json())
    _show("The operation", _request(variables, "GET", answer.headers["Location"]).json())


def _request(
    variables: dict[str, str], method: str, path: str, headers: dict[str, str] | None = None
) -> requests.Response:
    authorization = {"Authorization": f"Bearer {variables['BINDERY_TOKEN']}"}
    return requests.request(
        method, variables["BINDERY_URL"] + path, headers={**authorization, **(headers or {})}, timeout=30
    )


def _show(title: str, value: Any) -> None:
    text = json.dumps(value, indent=2).replace("\n", "\n  ")
    print(f"  {title}:\n  {text}\n", flush=True)
