"""The demo: a few cards of a demo organisation, and a bind from its request to its event."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import requests
from boto3.dynamodb.types import TypeSerializer

from . import environment, events
from .deploy import client
from .issuer import DAY_SECONDS
from .settings import DEMO_ACCOUNT, DEMO_CUSTOMER, DEMO_TENANT, INFRA, Settings, StackError

WAIT_SECONDS = 30


def seed(settings: Settings, table: str) -> dict[str, str]:
    """Puts four new cards, three of them unbound; answers the variables that name them.

    Card IDs grow with the clock, so that every `up` has cards that nobody touched.
    """
    first = int(time.time() * 1000)
    now = datetime.now(UTC)
    facts = {
        "program_id": 1,
        "bulk_id": f"demo-{first}",
        "contactless_enabled": True,
        "issuing_date": now.date().isoformat(),
        "expiration_date": now.date().replace(year=now.year + 6, day=1).isoformat(),
    }
    cards: list[dict[str, Any]] = [{"status": status} for status in ("UNBOUND", "UNBOUND", "UNBOUND", "NORMAL")]
    cards[3]["bound"] = {
        "by": str(uuid.uuid4()),
        "at": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "account_id": DEMO_ACCOUNT,
        "customer_id": DEMO_CUSTOMER,
    }
    for number, card in enumerate(cards):
        key = f"CARD#{first + number}"
        own = {"card_id": first + number, "external_id": f"demo-card-{number + 1}"}
        _put(settings, table, key, "CARD", {**facts, **own, **card})
    _seed_sample(settings, table)
    return {
        "BINDERY_CARD": str(first),
        "BINDERY_OTHER_CARD": str(first + 1),
        "BINDERY_DEMO_CARD": str(first + 2),
        "BINDERY_BOUND_CARD": str(first + 3),
    }


def _seed_sample(settings: Settings, table: str) -> None:
    """Puts the card and the operation that the sample in infra/events/ speaks of."""
    sample = json.loads((INFRA / "events" / "bind-card-worker.json").read_text())
    message = json.loads(sample["Records"][0]["body"])
    card_id = message["instruction"]["bind"]["card_id"]
    card = {"card_id": card_id, "status": "UNBOUND", **message["instruction"]["card"]}
    _put(settings, table, f"CARD#{card_id}", "CARD", card)
    operation = {
        "org_id": message["org_id"],
        "operation_id": message["operation_id"],
        "kind": "BIND_CARD",
        "card_id": card_id,
        "state": "PENDING",
        "fingerprint": "sample",
        "cid": message["cid"],
        "created_at": message["accepted_at"],
        "expires_at": int(time.time()) + 90 * DAY_SECONDS,
    }
    _put(settings, table, f"OP#{message['operation_id']}", "OP", operation)


def _put(settings: Settings, table: str, pk: str, sk: str, row: dict[str, Any]) -> None:
    """Puts a row of the demo tenant, unless one stands there."""
    row = {"pk": f"{DEMO_TENANT}#{pk}", "sk": sk, **row}
    item = {name: TypeSerializer().serialize(value) for name, value in row.items()}
    dynamodb = client(settings, "dynamodb")
    try:
        dynamodb.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)")
    except dynamodb.exceptions.ConditionalCheckFailedException:
        pass


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
