#!/usr/bin/env python3
"""Drives the stack whose variables are set by a client that is generated from infra/api/openapi.yaml.

Called by ./tests/run. The client is a stranger's idea of what the document says: a step fails unless it has understood
the answer, and says what it should. Of the order cancellations it has JSON alone: the generator knows no XML.
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
# What the generator says of the media types that it does not know.
UNKNOWN = re.compile(r"^Unsupported content type (text/json|application/xml|text/xml)$")


def generate() -> None:
    """Writes the client. What of the document the generator cannot make something of ends here."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    config = FOLDER / "config.json"
    config.write_text(json.dumps({"post_hooks": [], "package_name_override": PACKAGE}))
    command = [Path(sys.executable).with_name("openapi-python-client"), "generate", "--meta", "none", "--overwrite"]
    command += ["--path", DOCUMENT, "--config", config, "--output-path", FOLDER / PACKAGE]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    warnings = [line for line in done.stdout.splitlines() if re.match(r"Unsupported|Unable|Cannot|ERROR|Error", line)]
    if done.returncode or not all(UNKNOWN.match(line) for line in warnings):
        raise SystemExit(f"FAILED: the client is not generated whole:\n{done.stdout}")


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
    """The generated client, of the holder of this token."""
    new = import_module(f"{PACKAGE}.client").AuthenticatedClient
    return new(base_url=URL, token=token, raise_on_unexpected_status=True, timeout=httpx.Timeout(30))


API = client(TOKEN)


def call(tag: str, name: str, *path: object, by: Any = API, **options: Any) -> Any:
    """An operation's answer, by the generated function of this name."""
    module = import_module(f"{PACKAGE}.api.{tag}.{name}")
    return module.sync_detailed(*(str(part) for part in path), client=by, **options)


def step(
    name: str, ask: Callable[[], Any], status: int, kind: type, holds: Callable[[Any], object] | None = None
) -> Any:
    """An answer that the client understands as one of this kind; nothing, and a failure to tell, if it does not."""
    global steps
    steps += 1
    try:
        answer = ask()
        is_good = answer.status_code == status and isinstance(answer.parsed, kind)
        if is_good and (holds is None or holds(answer)):
            print(f"ok: {name}", flush=True)
            return answer
        what = f"{int(answer.status_code)} {answer.content[:500]!r} understood as {type(answer.parsed).__name__}"
    except Exception as error:  # Whatever a generated client raises, it did not understand.
        what = f"{type(error).__name__}: {error}"
    print(f"not understood: {name}: {what}", flush=True)
    failed.append(name)
    return None


def needs(answer: Any) -> Any:
    """What later steps cannot do without."""
    if answer is None:
        end()
    return answer


def end() -> None:
    """Says how it was."""
    print(f"{steps - len(failed)} of {steps} steps are understood by a client that is generated from our document")
    raise SystemExit(f"FAILED: {', '.join(failed)}" if failed else 0)


def ended(operation_id: object) -> Any:
    """The operation, as soon as it has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = call("operations", "get_operation", operation_id)
        if answer.parsed.status in ("SUCCEEDED", "FAILED") or time.monotonic() > deadline:
            return answer
        time.sleep(0.3)


def follow(name: str, answer: Any, path: str, kind: str = "", *codes: Any) -> None:
    """Finds an operation by its answer's `Location`, and waits until it has succeeded, with results of these codes."""
    operation_id = needs(answer).parsed.operation_id

    def at_location() -> Any:
        where = urljoin(URL + path, answer.headers["Location"])
        found = httpx.get(where, headers={"Authorization": f"Bearer {TOKEN}"}).json()
        return ended(found["operation_id"])

    is_it = lambda it: it.parsed.operation_id == operation_id  # noqa: E731
    step(f"{name}: the operation, at its Location", at_location, 200, models.Operation, is_it)

    def is_done(answer: Any) -> bool:
        results = answer.parsed.results
        is_told = sorted(str(one.message_code) for one in results) == sorted(map(str, codes))
        return answer.parsed.status == "SUCCEEDED" and is_told and {type(one).__name__ for one in results} <= {kind}

    step(f"{name}: its results", lambda: ended(operation_id), 200, models.Operation, is_done)


def has_nothing_null(answer: Any) -> bool:
    """Nothing is null: what has no value is left out."""
    return None not in json.loads(answer.content).values()


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


def is_plain(answer: Any) -> bool:
    """A bulk of four, of which only what is required was said."""
    got = answer.parsed
    is_default = (got.pin_length, got.contactless_enabled, got.size, got.status) == (4, True, 4, "CREATED")
    rest = {name: getattr(got, name) for name in (*EVERY, "metadata", "cancellation") if name not in DEFAULTS}
    counts = (got.counts.items, got.counts.issued, got.counts.canceled)
    return is_default and counts == (4, 0, 0) and set(rest.values()) == {UNSET} and has_nothing_null(answer)


def is_echoed(answer: Any) -> bool:
    """A bulk as it was asked for."""
    is_same = all(getattr(answer.parsed, name) == value for name, value in EVERY.items())
    return is_same and answer.parsed.metadata.to_dict() == METADATA and has_nothing_null(answer)


def bulks() -> str:
    """Bulks are created, grow, and are started: the one that was."""
    ids = ["a", "b", "c", "d"]
    every = {**EVERY, "metadata": models.Metadata.from_dict(METADATA), "external_ids": ids}
    create("create with every member", is_echoed, **every)
    create("create with nulls", is_plain, **{**dict.fromkeys(every), "external_ids": ids})
    key = str(uuid.uuid4())
    first = needs(create("create", is_plain, key, external_ids=ids))
    bulk = first.parsed.id

    def is_again(answer: Any) -> bool:
        told = [one.headers.get("Idempotent-Replayed") for one in (first, answer)]
        return told == [None, "true"] and answer.parsed.id == bulk

    create("create, said again", is_again, key, external_ids=ids)
    has_grown = lambda it: (it.parsed.size, it.parsed.status) == (5, "CREATED")  # noqa: E731
    step("increment", lambda: increment(bulk, "e"), 201, models.Bulk, has_grown)
    read("a bulk before its start", bulk, lambda it: {item.state for item in it.parsed.items} == {"PENDING"})

    start = lambda: call("noname", "start_bulk", bulk)  # noqa: E731
    answer = step("start", start, 202, models.StartedBulk, lambda it: (it.parsed.id, it.parsed.size) == (bulk, 5))
    follow("start", answer, f"/cards/v1/bulks/{bulk}/start")
    issued = ("COMPLETED", 5, 0)
    counted = lambda it: (it.parsed.status, it.parsed.counts.issued, it.parsed.counts.canceled) == issued  # noqa: E731
    read("a bulk after its start", bulk, counted)
    return bulk


def items(bulk: str) -> list[Any]:
    """All items of a bulk, read in pages."""
    page = needs(read("the first page of a bulk", bulk, limit=2))
    found = page.parsed.items
    while page.parsed.cursor is not UNSET:
        page = needs(read("another page of it", bulk, limit=2, cursor=page.parsed.cursor))
        found += page.parsed.items
    return found


def card(name: str, card_id: int, *expected: Any) -> None:
    """Reads a card, which must have this status, external ID, account, and card that replaces it."""

    def holds(answer: Any) -> bool:
        got = answer.parsed
        days = [got.issuing_date, got.expiration_date]
        is_midnight = all((day.hour, str(day.tzinfo)) == (0, "UTC") for day in days)
        return is_midnight and (got.status, got.external_id, got.account_id, got.new_card_id) == expected

    step(name, lambda: call("noname", "get_card", card_id), 200, models.Card, holds)


def cards(bulk: str) -> None:
    """Cards are bound, one in place of another."""
    old, new, *_ = (item.card_id for item in items(bulk))
    account, customer = os.environ["BINDERY_ACCOUNT"], int(os.environ["BINDERY_CUSTOMER"])

    def bind(card_id: int, **body: Any) -> Any:
        who = {"x_account_id": account, "x_customer_id": customer}
        return call("noname", "post_v2_card_bind", card_id, **who, **body)

    card("a noname card", old, "UNBOUND", "a", UNSET, UNSET)
    answer = step("bind", lambda: bind(old), 202, models.Accepted)
    follow("bind", answer, f"/wallet/v2/cards/{old}/noname/bind", "BindResult", UNSET)
    card("a bound card", old, "CREATED", "a", int(account), UNSET)
    body = models.BindRequest(reissued_card_id=old)
    answer = step("reissue", lambda: bind(new, body=body), 202, models.Accepted)
    follow("reissue", answer, f"/wallet/v2/cards/{new}/noname/bind", "BindResult", UNSET)
    card("a reissued card", old, "REISSUED", "a", int(account), new)
    is_told = lambda it: it.parsed.type_ == "urn:bindery:problem:card-not-unbound"  # noqa: E731
    step("bind of a bound card", lambda: bind(new), 409, models.Problem, is_told)


def cancel(name: str, bulk: str, cancel_type: str, ids: Any, *codes: str) -> None:
    """Cancels items of a bulk, which come to these ends."""
    of_type = models.CancelBulkRequestCancelType(cancel_type)
    body = models.CancelBulkRequest(cancel_type=of_type, external_ids=ids)
    answer = step(name, lambda: call("noname", "cancel_bulk", bulk, body=body), 202, models.Accepted)
    follow(name, answer, f"/cards/v1/bulks/{bulk}/cancel", "CancellationResult", *codes)


def cancels(bulk: str) -> None:
    """Some items are canceled, and then all."""
    both, bound = "EXTERNAL_ID_AND_CARD_CANCELED", "INVALID_CARD_STATUS_FOR_CANCELLATION"
    cancel("cancel some", bulk, "PARTIAL", ["c", "no-such-item"], both, "EXTERNAL_ID_NOT_FOUND")
    is_in_part = lambda it: (it.parsed.status, it.parsed.cancellation.state) == ("COMPLETED", "PARTIAL")  # noqa: E731
    read("a bulk that is canceled in part", bulk, is_in_part)
    cancel("cancel all", bulk, "FULL", None, bound, bound, both, both, "ALREADY_CANCELED")
    read("a bulk that was canceled", bulk, lambda it: it.parsed.counts.canceled == 3)
    step("increment of a bulk that was canceled", lambda: increment(bulk, "f"), 409, models.Problem)

    other = needs(create("create another", has_nothing_null, external_ids=["a"])).parsed.id
    cancel("cancel before a start", other, "FULL", UNSET, "EXTERNAL_ID_CANCELED")
    is_over = lambda it: (it.parsed.status, it.parsed.cancellation.state) == ("COMPLETED", "FULL")  # noqa: E731
    read("a bulk of which all is canceled", other, is_over)


def refusals() -> None:
    """What is wrong is told so that the client understands it."""
    body = models.CreateBulkRequest(program_id=1, external_ids=[])
    is_named = lambda it: it.parsed.errors[0].pointer == "/external_ids"  # noqa: E731
    step("create of nothing", lambda: call("noname", "create_bulk", body=body), 400, models.Problem, is_named)
    none = models.CancelBulkRequest(cancel_type=models.CancelBulkRequestCancelType.PARTIAL, external_ids=[])
    step("cancel of nothing", lambda: call("noname", "cancel_bulk", "any", body=none), 406, models.Problem)
    step("no such bulk", lambda: call("noname", "get_bulk", "no-such-bulk"), 404, models.Problem)
    step("a bad token", lambda: call("noname", "get_card", 1, by=client("none")), 401, models.GatewayMessage)


def orders() -> None:
    """Orders are canceled, in JSON."""
    entries = [models.CancellationCreation(order_id=1), models.CancellationCreation(), None]
    told = ["Order was not found."], ["OrderID is required."], ["Cancellation instruction is missing."]
    is_told = lambda it: [(one.success, one.errors) for one in it.parsed] == [(False, one) for one in told]  # noqa: E731
    step("cancel orders", lambda: call("orders", "cancel_orders", body=entries), 200, list, is_told)
    nobody = lambda: call("orders", "cancel_orders", body=entries, by=client("none"))  # noqa: E731
    step("cancel orders by a bad token", nobody, 401, str)


started = bulks()
cards(started)
cancels(started)
refusals()
orders()
end()
