#!/usr/bin/env python3
"""Uses the console of the stack whose variables are set, in a real browser ($BINDERY_CHROMIUM). Called by ./tests/run.

Everything that the page does goes through the real API. The script waits for the results on the page. Do not run it
twice after one `up`: the demo's order can be canceled only once.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from checks import check, eventually
from playwright.sync_api import APIResponse, Browser, Locator, Page, Route, expect, sync_playwright

URL = os.environ["BINDERY_CONSOLE_URL"]
PATIENCE_MS = 60_000
# Disables background requests: they are refused here, and would appear as errors.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
SCHEMES = ("light", "dark")
MARKUP = "<img src=x onerror=alert(1)>"
WRONG_PIN = "846205179"
TENANT = os.environ["BINDERY_TENANT"]
HALF_A_CARD = {"pk": {"S": f"{TENANT}#CARD#0"}, "sk": {"S": "CARD"}}
TABS = 600


@contextmanager
def opened(browser: Browser, path: str = "/", scheme: str = "light") -> Iterator[Page]:
    """Opens a page in its own session. Fails on errors in the browser, and on requests to other origins."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda request: None if request.url.startswith((URL, "data:")) else wrong.append(request.url))
    page.goto(URL + path)
    yield page
    # The browser itself logs expected 403 responses to its console.
    wrong = [text for text in wrong if "status of 403" not in text]
    check(f"{path} in {scheme}: nothing went wrong in the browser", not wrong or print(*wrong, sep="\n"))
    context.close()


def row(page: Page, table: str, text: str = "") -> Locator:
    """Returns the first row of a table that contains the text."""
    return page.locator(f"#{table} tbody tr").filter(has_text=text).first


def press(place: Page | Locator, name: str) -> None:
    """Presses the first button whose name begins with `name`."""
    place.get_by_role("button", name=re.compile(f"^{re.escape(name)}")).first.click()


def choose(page: Page, name: str) -> None:
    """Presses a button of the dialog."""
    page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()


def expect_notice(page: Page, text: str) -> None:
    """Waits until the notice contains the text."""
    expect(page.locator("#notice")).to_contain_text(text, ignore_case=True)


def live(page: Page) -> None:
    """Waits until the page is connected and shows the stack's data."""
    expect(page.locator("#connection")).to_have_text("live")
    for queue in ("order-feed", "parked"):
        expect(row(page, "queues", queue)).to_be_visible()


def create(page: Page, *external_ids: str) -> str:
    """Creates a bulk of these items, and returns its ID."""
    press(page, "New bulk")
    page.get_by_label("External IDs").fill("\n".join(external_ids))
    with page.expect_response("**/proxy/cards/v1/bulks") as created:
        choose(page, "Create")
    bulk = created.value.json()["id"]
    expect_notice(page, "was created")
    expect(row(page, "bulks", bulk[-8:])).to_contain_text("created")
    return bulk


def operation(page: Page) -> str:
    """Waits until the operation in the notice has succeeded, and returns it."""
    expect_notice(page, "succeeded")
    press(page.locator("#notice"), "Show operation")
    found = page.get_by_role("textbox", name="Show one correlation ID").input_value()
    expect(page.locator("#operations tbody tr")).to_have_count(1)
    return found


def instructions(browser: Browser) -> None:
    """Creates a bulk, starts it, binds a card and cancels the bulk. Checks every event and operation."""
    # Tens of thousands of events of other tests would hide one event.
    events_queue("purge-queue")
    send_malformed_events()
    name = uuid.uuid4().hex[:8]
    items = [f"{name}-{number}" for number in range(1, 4)] + [f"{name} {MARKUP}"]
    with opened(browser) as page:
        live(page)
        bulk = create(page, *items)
        in_bulks = row(page, "bulks", bulk[-8:])
        expect(page.locator("#items tbody tr")).to_have_count(4)
        expect(row(page, "items", f"{name} {MARKUP}")).to_be_visible()
        check("markup in an external ID is shown as text", page.locator("main img").count() == 0)

        press(in_bulks, "Start")
        expect_notice(page, "4 of 4 done")
        started = operation(page)
        # One event for each card, and one for the bulk.
        expect(page.locator("#events tbody tr")).to_have_count(5)
        check("a bulk is started, and only its events are shown for its operation", True)
        press(page, "Show all")

        press(row(page, "cards", f"{name}-1"), "Bind")
        choose(page, "Bind")
        bound = operation(page)
        expect(page.locator("#events tbody tr")).to_have_count(1)
        expect(row(page, "events", "bind_card")).to_contain_text("success")
        expect(row(page, "cards", f"{name}-1")).to_contain_text(
            f"{os.environ['BINDERY_CUSTOMER']} of {os.environ['BINDERY_ACCOUNT']}"
        )
        check("a card is bound", bound != started)
        cid = cid_by_data(page)
        page.get_by_role("textbox", name="Show one correlation ID").fill(cid)
        expect(page.locator("#events tbody tr")).to_have_count(1)
        expect(page.locator("#operations tbody tr")).to_have_count(1)
        page.get_by_role("textbox", name="Show one correlation ID").fill(f"{cid}x")
        expect(page.locator("#events tbody tr")).to_have_count(0)
        check("events and operations are filtered by correlation ID", True)
        press(page, "Show all")

        row(page, "items", f"{name}-2").get_by_role("checkbox").check()
        press(page, "Cancel selected")
        choose(page, "Cancel items")
        expect_notice(page, "1 of 1 done")
        expect(row(page, "items", f"{name}-2")).to_contain_text("canceled")
        press(in_bulks, "Cancel")
        choose(page, "Cancel items")
        expect_notice(page, "3 of 4 done, 1 failed")
        operation(page)
        # One event for each item, and one for the bulk.
        expect(page.locator("#events tbody tr")).to_have_count(5)
        failed = row(page, "events", "failure")
        expect(failed).to_contain_text("INVALID_CARD_STATUS_FOR_CANCELLATION")
        expect(in_bulks).to_contain_text("partial")
        check("an item and then the whole bulk are canceled, except the bound card", True)
        same_events_elsewhere(cid)
    with opened(browser) as page:
        live(page)
        expect(row(page, "events", f"{name}-3")).to_be_visible()
        check("a page that is opened later shows earlier events", True)


def cid_by_data(page: Page) -> str:
    """Returns the correlation ID of the first event, as its dialog shows it."""
    row(page, "events").get_by_role("button").first.click()
    data = json.loads(page.get_by_role("dialog").locator("pre").inner_text())
    choose(page, "Close")
    check("the dialog shows the whole event", data["event_type"] == "bind_card" and data["data"]["status"] == "SUCCESS")
    return data["cid"]


def aws(*words: str) -> str:
    """Runs the AWS CLI, and returns its output."""
    command = [Path(sys.executable).with_name("aws"), "--endpoint-url", os.environ["AWS_ENDPOINT_URL"]]
    return subprocess.run([*command, "--output", "json", *words], capture_output=True, check=True, text=True).stdout


def events_queue(command: str, *options: str) -> str:
    """Runs an SQS command on the queue of all events, and returns its output."""
    return aws("sqs", command, "--queue-url", os.environ["EVENTS_QUEUE_URL"], *options)


def send_malformed_events() -> None:
    """Sends malformed and incomplete events to the console's queue, before those that it must show."""
    whole = {"event_id": str(uuid.uuid4()), "event_type": "x", "org_id": TENANT, "cid": "x", "data": {}}
    events = [{**whole, name: []} for name in whole]
    events += [{name: value for name, value in whole.items() if name != missing} for missing in whole]
    texts = ["{", "[]", '{"detail": 1}', "[" * 100_000, *(json.dumps({"detail": event}) for event in events)]
    for some in (texts[:7], texts[7:]):
        entries = json.dumps([{"Id": str(number), "MessageBody": text} for number, text in enumerate(some)])
        aws("sqs", "send-message-batch", "--queue-url", os.environ["CONSOLE_QUEUE_URL"], "--entries", entries)


def same_events_elsewhere(cid: str) -> None:
    """Checks that the console does not take events from the queue of all events."""

    def is_there() -> bool:
        taken = events_queue("receive-message", "--max-number-of-messages", "10", "--visibility-timeout", "5")
        messages = json.loads(taken or "{}").get("Messages", [])
        return any(json.loads(message["Body"])["detail"]["cid"] == cid for message in messages)

    eventually("the event is also in EVENTS_QUEUE_URL", is_there)


def late_response(browser: Browser) -> None:
    """Checks an operation that ends before its response arrives. An incomplete row must not hide others."""
    aws("dynamodb", "put-item", "--table-name", os.environ["TABLE_NAME"], "--item", json.dumps(HALF_A_CARD))
    with opened(browser) as page:
        live(page)
        bulk = create(page, uuid.uuid4().hex)
        held: list[tuple[Route, APIResponse]] = []
        page.route("**/start", lambda route: held.append((route, route.fetch())))
        press(row(page, "bulks", bulk[-8:]), "Start")
        expect(row(page, "bulks", bulk[-8:])).to_contain_text("completed")
        expect(row(page, "operations")).to_contain_text("succeeded")
        [(route, response)] = held
        route.fulfill(response=response)
        expect_notice(page, "1 of 1 done")
        check("an operation that ended before its response is shown", True)


def order_and_secrets(browser: Browser) -> None:
    """Requests an order's cancellation, and checks that PINs and tokens leave no trace."""
    order = os.environ["BINDERY_ORDER"]
    with opened(browser) as page:
        tokens: list[str] = []
        page.on("request", lambda request: tokens.append(request.headers.get("authorization", "")))
        live(page)
        for pin in (WRONG_PIN, "1234"):
            press(row(page, "orders", order), "Cancel")
            page.get_by_label("PIN").fill(pin)
            choose(page, "Request cancellation")
            expect_notice(page, "PIN is invalid." if pin == WRONG_PIN else "was requested")
        expect(row(page, "orders", order)).to_contain_text("pending")
        expect(row(page, "events", order)).to_contain_text("cancellation_requested")
        check("the cancellation of an order is requested", True)
        seen = page.content()
    [token] = {text.removeprefix("Bearer ") for text in tokens if text}
    # Only the stack's own logs. A subfolder has those of functions that other tests have started.
    logs = [file.read_text(errors="replace") for file in Path(os.environ["BINDERY_LOCAL_DIR"], "logs").glob("*.*")]
    for what, text in (("page", seen), *(("log", log) for log in logs)):
        if token in text or WRONG_PIN in text:
            raise SystemExit(f"FAILED: a token or a PIN is in a {what}")
    check("no token or PIN is on the page or in the logs", token and logs)


def identities(browser: Browser) -> None:
    """Checks that another tenant sees none of the demo's data, and that the API refuses a token without the scope."""
    with opened(browser) as page:
        live(page)
        expect(row(page, "bulks")).to_be_visible()
        press(page, "Acting as")
        page.get_by_label("Tenant").fill(f"TN-{uuid.uuid4()}")
        choose(page, "Switch identity")
        expect(page.locator("#bulks tbody tr")).to_have_count(0)
        live(page)
        create(page, "one")
        expect(page.locator("#bulks tbody tr")).to_have_count(1)
        check("another tenant sees only its own bulks", True)
        press(page, "Acting as")
        page.get_by_label("cards:write").uncheck()
        choose(page, "Switch identity")
        expect(page.get_by_role("button", name="4 of 5 scopes")).to_be_visible()
        live(page)
        press(row(page, "bulks"), "Start")
        expect_notice(page, "403")
        check("an instruction without the scope is refused", True)


def reference(browser: Browser) -> None:
    """Sends a request from the reference, and checks the API's response."""
    with opened(browser, "/reference") as page:
        block = page.locator(".opblock").filter(has_text="/cards/v1/cards/{cardId}").first
        block.locator(".opblock-summary-control").click()
        card = block.locator("tr[data-param-name=cardId] input")
        expect(card).to_have_value(os.environ["BINDERY_CARD"])
        press(block, "Execute")
        live_response = block.locator(".live-responses-table .response")
        expect(live_response.locator(".response-col_status")).to_contain_text("200")
        expect(live_response).to_contain_text('"external_id": "demo-card-1"')
        check("a request from the reference succeeds", True)


def focus(page: Page, wanted: Callable[[str], bool]) -> None:
    """Presses Tab until `wanted` accepts the focused element's label and text. Its focus must be visible."""
    for _ in range(TABS):
        page.keyboard.press("Tab")
        text, outline = page.evaluate(
            """() => {
                const active = document.activeElement;
                const text = [active.ariaLabel, active.textContent, active.id].join(" ");
                return [text.trim(), getComputedStyle(active).outlineStyle];
            }"""
        )
        if wanted(text):
            return check(f"by keyboard: {text[:50]}", outline != "none")
    raise SystemExit("FAILED: the element cannot be reached by keyboard")


def keyboard(browser: Browser) -> None:
    """Creates a bulk, starts it, binds a card and cancels the bulk, all without a pointer."""
    name = uuid.uuid4().hex[:8]
    with opened(browser) as page:
        live(page)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        check("the first Tab offers to skip to the content", page.evaluate("document.activeElement.id") == "main")
        focus(page, lambda text: "New bulk" in text)
        page.keyboard.press("Enter")
        focus(page, lambda text: "field-items" in text)
        page.keyboard.press("Control+A")
        page.keyboard.type(name)
        focus(page, lambda text: text == "Create")
        page.keyboard.press("Enter")
        expect_notice(page, "was created")
        expect(page.locator("#items-title")).to_be_focused()
        bulk = page.locator("#items-title").inner_text()[-8:]
        focus(page, lambda text: text.startswith(f"Start bulk ending in {bulk}"))
        page.keyboard.press("Enter")
        expect_notice(page, "start bulk succeeded")
        expect(row(page, "items")).to_contain_text("unbound")
        card = row(page, "items").locator("td").nth(3).inner_text()
        focus(page, lambda text: text.startswith(f"Bind card {card} "))
        page.keyboard.press("Enter")
        focus(page, lambda text: text == "Bind")
        page.keyboard.press("Enter")
        expect_notice(page, "bind card succeeded")
        expect(row(page, "items")).to_contain_text("created")
        focus(page, lambda text: text.startswith(f"Cancel bulk ending in {bulk}"))
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.press("Enter")
        focus(page, lambda text: text == "Cancel items")
        page.keyboard.press("Enter")
        expect_notice(page, "cancel bulk succeeded")


def accessible(browser: Browser) -> None:
    """Checks that axe finds no violations in both color schemes, and that nothing is cut off on a phone."""

    def scan(page: Page, what: str) -> None:
        found = Axe().run(page)
        check(f"{what}: accessible", not found.violations_count or print(found.generate_report()))

    for scheme in SCHEMES:
        with opened(browser, "/", scheme) as page:
            live(page)
            row(page, "bulks").get_by_role("button").first.click()
            expect(row(page, "items")).to_be_visible()
            scan(page, f"the live page in {scheme}")
            for name in ("New bulk", "Acting as"):
                press(page, name)
                scan(page, f"the dialog '{name}' in {scheme}")
                page.keyboard.press("Escape")
            page.set_viewport_size({"width": 320, "height": 800})
            check("nothing is cut off at 320 pixels", page.evaluate("document.body.scrollWidth <= innerWidth"))
        with opened(browser, "/reference", scheme) as page:
            page.locator(".opblock").first.wait_for()
            scan(page, f"the reference in {scheme}")
            operations = page.locator(".opblock-summary-control")
            for number in range(operations.count()):
                operations.nth(number).click()
                expect(page.locator(".opblock.is-open .opblock-body")).to_have_count(number + 1)
            scan(page, f"the reference with all operations open in {scheme}")


def main() -> None:
    """Runs all checks."""
    # The page is slow if the table is large.
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["BINDERY_CHROMIUM"], args=FLAGS)
        for part in (instructions, late_response, identities, reference, keyboard, accessible, order_and_secrets):
            print(f"== {part.__name__}")
            part(browser)
        browser.close()


main()
