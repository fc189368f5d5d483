#!/usr/bin/env python3
"""Uses the stack whose variables are set with a client generated from infra/api/openapi.yaml.

Called by ./tests/run. The client is an independent interpretation of the document. A step fails unless the client
parses the response, and the response is as expected. Orders are canceled in JSON only, because the generator does not
support XML.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "infra/api/openapi.yaml"
FOLDER = ROOT / "target/generated"
PACKAGE = "generated_bindery"
TENANT = f"TN-{uuid.uuid4()}"
PATIENCE_SECONDS = 60
# The generator's warnings about media types that it does not support.
UNKNOWN = re.compile(r"^Unsupported content type (text/json|application/xml|text/xml)$")


def generate() -> None:
    """Generates the client. Ends the program if the generator does not support a part of the document."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    config = FOLDER / "config.json"
    config.write_text(json.dumps({"post_hooks": [], "package_name_override": PACKAGE}))
    command = [Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none", "--overwrite"]
    command += ["--path", DOCUMENT, "--config", config, "--output-path", FOLDER / PACKAGE]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    warnings = [line for line in done.stdout.splitlines() if re.match(r"Unsupported|Unable|Cannot|ERROR|Error", line)]
    if done.returncode or not all(UNKNOWN.match(line) for line in warnings):
        raise SystemExit(f"FAILED: the client was not generated completely:\n{done.stdout}")


generate()
sys.path.insert(0, str(FOLDER))
models = import_module(f"{PACKAGE}.models")
UNSET = import_module(f"{PACKAGE}.types").UNSET
URL = os.environ["BINDERY_URL"]
TOKEN = subprocess.check_output(
    [*shlex.split(os.environ["BINDERY_TOKEN_COMMAND"]), "--tenant", TENANT], text=True
).strip()
DEFAULTS = {"pin_length", "contactless_enabled"}
EVERY = {
    "template_id": "summer",
    "pin_length": 6,
    "contactless_enabled": False,
    "abu_enabled": False,
    "embossing_custom_field": "m" * 1000,
    "embossing_group": "second-embosser",
    "mode_type": models.ModeType.SINGLE,
    "validity_period_hours": 240,
}
METADATA = {"batch": 7, "price": 1.5, "nested": {"list": [1, "two", None]}}
failed: list[str] = []
steps = 0


def client(token: str) -> Any:
    """Returns the generated client with this token."""
    new = import_module(f"{PACKAGE}.client").AuthenticatedClient
    return new(base_url=URL, token=token, raise_on_unexpected_status=True, timeout=httpx.Timeout(30))


API = client(TOKEN)


def call(tag: str, name: str, *path: object, by: Any = API, **options: Any) -> Any:
    """Calls the generated function of this name, and returns the response."""
    module = import_module(f"{PACKAGE}.api.{tag}.{name}")
    return module.sync_detailed(*(str(part) for part in path), client=by, **options)


def step(
    name: str, ask: Callable[[], Any], status: int, kind: type, holds: Callable[[Any], object] | None = None
) -> Any:
    """Returns the response if the client parses it as this kind. Otherwise records a failure and returns None."""
    global steps
    steps += 1
    try:
        response = ask()
        is_good = response.status_code == status and isinstance(response.parsed, kind)
        if is_good and (holds is None or holds(response)):
            print(f"ok: {name}", flush=True)
            return response
        what = f"{int(response.status_code)} {response.content[:500]!r} parsed as {type(response.parsed).__name__}"
    except Exception as error:  # A generated client may raise any exception when it cannot parse.
        what = f"{type(error).__name__}: {error}"
    print(f"FAILED: {name}: {what}", flush=True)
    failed.append(name)
    return None


def needs(response: Any) -> Any:
    """Returns a response that later steps need. Without it, ends the program."""
    if response is None:
        end()
    return response


def end() -> None:
    """Prints the result and ends the program."""
    print(f"{steps - len(failed)} of {steps} steps succeed with a client generated from our document")
    raise SystemExit(f"FAILED: {', '.join(failed)}" if failed else 0)


def ended(operation_id: object) -> Any:
    """Waits until the operation has ended, and returns it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        response = call("operations", "get_operation", operation_id)
        if response.parsed.status in ("SUCCEEDED", "FAILED") or time.monotonic() > deadline:
            return response
        time.sleep(0.3)


def follow(name: str, response: Any, path: str, kind: str = "", *codes: Any) -> None:
    """Finds an operation by the `Location` of its response, and waits until it succeeds with results of these codes."""
    operation_id = needs(response).parsed.operation_id

    def at_location() -> Any:
        where = urljoin(URL + path, response.headers["Location"])
        found = httpx.get(where, headers={"Authorization": f"Bearer {TOKEN}"}).json()
        return ended(found["operation_id"])

    is_it = lambda it: it.parsed.operation_id == operation_id  # noqa: E731
    step(f"{name}: the operation, at its Location", at_location, 200, models.Operation, is_it)

    def is_done(response: Any) -> bool:
        results = response.parsed.results
        has_codes = sorted(str(one.message_code) for one in results) == sorted(map(str, codes))
        return response.parsed.status == "SUCCEEDED" and has_codes and {type(one).__name__ for one in results} <= {kind}

    step(f"{name}: its results", lambda: ended(operation_id), 200, models.Operation, is_done)


def has_nothing_null(response: Any) -> bool:
    """Returns whether no member is null, because members without a value are left out."""
    return None not in json.loads(response.content).values()


def create(name: str, holds: Callable[[Any], object], key: object = UNSET, **members: Any) -> Any:
    """Creates a bulk."""
    body = models.CreateBulkRequest(**{"program_id": 1, **members})
    return step(name, lambda: call("noname", "create_bulk", body=body, idempotency_key=key), 201, models.Bulk, holds)


def increment(bulk: str, *ids: str) -> Any:
    """Adds to a bulk."""
    return call("noname", "increment_bulk", bulk, body=models.IncrementBulkRequest(external_ids=list(ids)))


def read(name: str, bulk: str, holds: Callable[[Any], object] | None = None, **page: Any) -> Any:
    """Reads a bulk, and a page of its items."""
    return step(name, lambda: call("noname", "get_bulk", bulk, **page), 200, models.BulkPage, holds)


def is_plain(response: Any) -> bool:
    """Returns whether this is a bulk of four that was created with only the required members."""
    got = response.parsed
    is_default = (got.pin_length, got.contactless_enabled, got.size, got.status) == (4, True, 4, "CREATED")
    rest = {name: getattr(got, name) for name in (*EVERY, "metadata", "cancellation") if name not in DEFAULTS}
    counts = (got.counts.items, got.counts.issued, got.counts.canceled)
    return is_default and counts == (4, 0, 0) and set(rest.values()) == {UNSET} and has_nothing_null(response)


def is_echoed(response: Any) -> bool:
    """Returns whether the bulk has the members of its request."""
    is_same = all(getattr(response.parsed, name) == value for name, value in EVERY.items())
    return is_same and response.parsed.metadata.to_dict() == METADATA and has_nothing_null(response)


def bulks() -> str:
    """Creates bulks, adds items to one and starts it. Returns its ID."""
    ids = ["a", "b", "c", "d"]
    every = {**EVERY, "metadata": models.Metadata.from_dict(METADATA), "external_ids": ids}
    create("create with every member", is_echoed, **every)
    create("create with nulls", is_plain, **{**dict.fromkeys(every), "external_ids": ids})
    key = str(uuid.uuid4())
    first = needs(create("create", is_plain, key, external_ids=ids))
    bulk = first.parsed.id

    def is_again(response: Any) -> bool:
        replayed = [one.headers.get("Idempotent-Replayed") for one in (first, response)]
        return replayed == [None, "true"] and response.parsed.id == bulk

    create("create, repeated", is_again, key, external_ids=ids)
    has_grown = lambda it: (it.parsed.size, it.parsed.status) == (5, "CREATED")  # noqa: E731
    step("increment", lambda: increment(bulk, "e"), 201, models.Bulk, has_grown)
    read("a bulk before its start", bulk, lambda it: {item.state for item in it.parsed.items} == {"PENDING"})

    start = lambda: call("noname", "start_bulk", bulk)  # noqa: E731
    response = step("start", start, 202, models.StartedBulk, lambda it: (it.parsed.id, it.parsed.size) == (bulk, 5))
    follow("start", response, f"/cards/v1/bulks/{bulk}/start")
    issued = ("COMPLETED", 5, 0)
    counted = lambda it: (it.parsed.status, it.parsed.counts.issued, it.parsed.counts.canceled) == issued  # noqa: E731
    read("a bulk after its start", bulk, counted)
    return bulk


def items(bulk: str) -> list[Any]:
    """Returns all items of a bulk, read in pages."""
    page = needs(read("the first page of a bulk", bulk, limit=2))
    found = page.parsed.items
    while page.parsed.cursor is not UNSET:
        page = needs(read("another page of it", bulk, limit=2, cursor=page.parsed.cursor))
        found += page.parsed.items
    return found


def card(name: str, card_id: int, *expected: Any) -> None:
    """Reads a card, which must have this status, external ID, account and replacing card."""

    def holds(response: Any) -> bool:
        got = response.parsed
        days = [got.issuing_date, got.expiration_date]
        is_midnight = all((day.hour, str(day.tzinfo)) == (0, "UTC") for day in days)
        return is_midnight and (got.status, got.external_id, got.account_id, got.new_card_id) == expected

    step(name, lambda: call("noname", "get_card", card_id), 200, models.Card, holds)


def cards(bulk: str) -> None:
    """Binds cards, one of which replaces another."""
    old, new, *_ = (item.card_id for item in items(bulk))
    account, customer = os.environ["BINDERY_ACCOUNT"], int(os.environ["BINDERY_CUSTOMER"])

    def bind(card_id: int, **body: Any) -> Any:
        who = {"x_account_id": account, "x_customer_id": customer}
        return call("noname", "post_v2_card_bind", card_id, **who, **body)

    card("a noname card", old, "UNBOUND", "a", UNSET, UNSET)
    response = step("bind", lambda: bind(old), 202, models.Accepted)
    follow("bind", response, f"/wallet/v2/cards/{old}/noname/bind", "BindResult", UNSET)
    card("a bound card", old, "CREATED", "a", int(account), UNSET)
    body = models.BindRequest(reissued_card_id=old)
    response = step("reissue", lambda: bind(new, body=body), 202, models.Accepted)
    follow("reissue", response, f"/wallet/v2/cards/{new}/noname/bind", "BindResult", UNSET)
    card("a reissued card", old, "REISSUED", "a", int(account), new)
    is_named = lambda it: it.parsed.type_ == "urn:bindery:problem:card-not-unbound"  # noqa: E731
    step("bind of a bound card", lambda: bind(new), 409, models.Problem, is_named)


def cancel(name: str, bulk: str, cancel_type: str, ids: Any, *codes: str) -> None:
    """Cancels items of a bulk, with these result codes."""
    of_type = models.CancelBulkRequestCancelType(cancel_type)
    body = models.CancelBulkRequest(cancel_type=of_type, external_ids=ids)
    response = step(name, lambda: call("noname", "cancel_bulk", bulk, body=body), 202, models.Accepted)
    follow(name, response, f"/cards/v1/bulks/{bulk}/cancel", "CancellationResult", *codes)


def cancels(bulk: str) -> None:
    """Cancels some items, and then all."""
    both, bound = "EXTERNAL_ID_AND_CARD_CANCELED", "INVALID_CARD_STATUS_FOR_CANCELLATION"
    cancel("cancel some", bulk, "PARTIAL", ["c", "no-such-item"], both, "EXTERNAL_ID_NOT_FOUND")
    is_in_part = lambda it: (it.parsed.status, it.parsed.cancellation.state) == ("COMPLETED", "PARTIAL")  # noqa: E731
    read("a partly canceled bulk", bulk, is_in_part)
    cancel("cancel all", bulk, "FULL", None, bound, bound, both, both, "ALREADY_CANCELED")
    read("a canceled bulk", bulk, lambda it: it.parsed.counts.canceled == 3)
    step("increment of a canceled bulk", lambda: increment(bulk, "f"), 409, models.Problem)

    other = needs(create("create another", has_nothing_null, external_ids=["a"])).parsed.id
    cancel("cancel before a start", other, "FULL", UNSET, "EXTERNAL_ID_CANCELED")
    is_over = lambda it: (it.parsed.status, it.parsed.cancellation.state) == ("COMPLETED", "FULL")  # noqa: E731
    read("a completely canceled bulk", other, is_over)


def refusals() -> None:
    """Checks that the client parses error responses."""
    body = models.CreateBulkRequest(program_id=1, external_ids=[])
    is_named = lambda it: it.parsed.errors[0].pointer == "/external_ids"  # noqa: E731
    step("create of nothing", lambda: call("noname", "create_bulk", body=body), 400, models.Problem, is_named)
    empty = models.CancelBulkRequest(cancel_type=models.CancelBulkRequestCancelType.PARTIAL, external_ids=[])
    step("cancel of nothing", lambda: call("noname", "cancel_bulk", "any", body=empty), 406, models.Problem)
    step("no such bulk", lambda: call("noname", "get_bulk", "no-such-bulk"), 404, models.Problem)
    step("a bad token", lambda: call("noname", "get_card", 1, by=client("none")), 401, models.GatewayMessage)


def orders() -> None:
    """Cancels orders in JSON."""
    entries = [models.CancellationCreation(order_id=1), models.CancellationCreation(), None]
    errors = ["Order was not found."], ["OrderID is required."], ["Cancellation instruction is missing."]
    expected = [(False, one) for one in errors]
    has_errors = lambda it: [(one.success, one.errors) for one in it.parsed] == expected  # noqa: E731
    step("cancel orders", lambda: call("orders", "cancel_orders", body=entries), 200, list, has_errors)
    refused = lambda: call("orders", "cancel_orders", body=entries, by=client("none"))  # noqa: E731
    step("cancel orders with a bad token", refused, 401, str)


started = bulks()
cards(started)
cancels(started)
refusals()
orders()
end()
