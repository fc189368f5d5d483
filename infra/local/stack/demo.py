"""The demo: creates and starts a bulk, binds one card and cancels another, from request to event."""

import json
import time
import uuid
from typing import Any
from urllib.parse import urljoin

import requests
from boto3.dynamodb.types import TypeSerializer

from . import events
from .deploy import client
from .settings import DEMO_TENANT, INFRA, Settings, StackError

WAIT_SECONDS = 60
DAY_SECONDS = 24 * 60 * 60


class Api:
    """A client of the deployed API, which acts as the demo's issuer."""

    def __init__(self, settings: Settings, variables: dict[str, str]) -> None:
        self.settings = settings
        self.variables = variables
        self.cid = f"demo-{uuid.uuid4()}"
        self.session = requests.Session()
        # Credentials for other hosts, such as ~/.netrc, would replace the token.
        self.session.trust_env = False

    def call(self, method: str, path: str, expected: int, **options: Any) -> requests.Response:
        """Sends a request to a path of the API or to a URL. Raises an error if the status is not the expected one."""
        account = {
            "x-account-id": self.variables["BINDERY_ACCOUNT"],
            "x-customer-id": self.variables["BINDERY_CUSTOMER"],
        }
        headers = {
            "Authorization": f"Bearer {self.variables['BINDERY_TOKEN']}",
            "x-correlation-id": self.cid,
            **account,
            **options.pop("headers", {}),
        }
        url = self.variables["BINDERY_URL"] + path if path.startswith("/") else path
        response = self.session.request(method, url, headers=headers, timeout=30, **options)
        if response.status_code != expected:
            raise StackError(
                f"{method} {path} returned {response.status_code} {response.text}: see {self.settings.logs}"
            )
        return response

    def events(self, count: int) -> list[dict[str, Any]]:
        """Returns the next events of this demo's requests."""
        found = events.wait_for(self.settings, self.variables["EVENTS_QUEUE_URL"], self.cid, count, WAIT_SECONDS)
        if len(found) < count:
            raise StackError(f"the events did not arrive within {WAIT_SECONDS} seconds: see {self.settings.logs}")
        return found


def cards(api: Api) -> dict[str, str]:
    """Issues six cards and binds the fourth. Returns the variables with their IDs."""
    body = {"external_ids": [f"demo-card-{number}" for number in range(1, 7)], "program_id": 1}
    bulk = api.call("POST", "/cards/v1/bulks", 201, json=body).json()["id"]
    api.call("POST", f"/cards/v1/bulks/{bulk}/start", 202)
    # One event for each card, and one for the end of the start.
    created = [event["data"] for event in api.events(7) if event["event_type"] == "create"]
    issued = {card["external_id"]: str(card["card_id"]) for card in created}
    api.call("PUT", bind_path(issued["demo-card-4"]), 202)
    api.events(1)
    return {
        "BINDERY_BULK": bulk,
        "BINDERY_CARD": issued["demo-card-1"],
        "BINDERY_OTHER_CARD": issued["demo-card-2"],
        "BINDERY_DEMO_CARD": issued["demo-card-3"],
        "BINDERY_BOUND_CARD": issued["demo-card-4"],
    }


def run(api: Api) -> None:
    """Shows the bulk, a bind and a cancel, with their events and outcomes."""
    print("==> The demo: a bulk is started; one of its cards is bound, and another is canceled\n")
    show("The bulk", api.call("GET", f"/cards/v1/bulks/{api.variables['BINDERY_BULK']}", 200).json())

    card = f"/cards/v1/cards/{api.variables['BINDERY_DEMO_CARD']}"
    path = bind_path(api.variables["BINDERY_DEMO_CARD"])
    show("The card before", api.call("GET", card, 200).json())
    print(f"  PUT {path}")
    print(f"  x-account-id: {api.variables['BINDERY_ACCOUNT']}\n  x-customer-id: {api.variables['BINDERY_CUSTOMER']}\n")
    response = api.call("PUT", path, 202)
    print(f"  202 {response.reason}\n  Location: {response.headers['Location']}\n  {response.text}\n")
    for event in api.events(1):
        show(f"The event {event['event_type']}", event)
    show("The card after", api.call("GET", card, 200).json())
    show("The operation", api.call("GET", urljoin(response.url, response.headers["Location"]), 200).json())

    path = f"/cards/v1/bulks/{api.variables['BINDERY_BULK']}/cancel"
    body = {"cancel_type": "PARTIAL", "external_ids": ["demo-card-6", "no-such-card"]}
    print(f"  POST {path}\n  {json.dumps(body)}\n")
    response = api.call("POST", path, 202, json=body)
    for event in api.events(3):
        show(f"The event {event['event_type']}", event)
    show("The operation", api.call("GET", urljoin(response.url, response.headers["Location"]), 200).json())


def bind_path(card: str) -> str:
    """Returns the path of the card's bind endpoint."""
    return f"/wallet/v2/cards/{card}/noname/bind"


def seed_sample(settings: Settings, table: str) -> None:
    """Puts the card and the operation of the sample in infra/events, which no endpoint can create.

    The card's ID is far above those that are issued here.
    """
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
    """Puts a row of the demo tenant, unless it exists."""
    row = {"pk": f"{DEMO_TENANT}#{pk}", "sk": sk, **row}
    item = {name: TypeSerializer().serialize(value) for name, value in row.items()}
    dynamodb = client(settings, "dynamodb")
    try:
        dynamodb.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)")
    except dynamodb.exceptions.ConditionalCheckFailedException:
        pass


def show(title: str, value: Any) -> None:
    """Prints a titled value, indented."""
    text = json.dumps(value, indent=2).replace("\n", "\n  ")
    print(f"  {title}:\n  {text}\n", flush=True)
