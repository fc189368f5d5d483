"""Watches the stack for the pages that are open: its table, its queues, and the events that arrive."""

import json
import os
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import boto3

from .rows import Shown, Table, newest

EVENTS_KEPT = 1000
# Between two looks at the table; and at least so many times as long as the last look took, because the emulator, which
# runs the functions too, is slow with a large table.
LOOK_SECONDS = 0.7
LOOK_SHARE = 4
# A page is told that the connection is alive, and one that went away is found out.
ALIVE_SECONDS = 10
RETRY_SECONDS = 2
QUEUE_URL, DLQ_URL = "_QUEUE_URL", "_DLQ_URL"
# It holds events, which the page shows by themselves.
NOT_SHOWN = {"EVENTS"}
DEPTHS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

Event = dict[str, Any]


class Watcher:
    """What is known of the stack, kept up to date while somebody follows it."""

    def __init__(self, table: str, events_queue_url: str) -> None:
        self._table, self._events_queue_url = Table(table), events_queue_url
        self._sqs = boto3.client("sqs")
        # Guards all below; notified when there is something new.
        self._changed = threading.Condition()
        self._followers = 0
        self._arrived: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._event_count = 0
        self._tenants: dict[str, Shown] = {}
        self._queues: list[dict[str, Any]] = []
        self._looked = 0

    def start(self) -> None:
        """Begins."""
        for work in (self._take_events, self._look_again):
            threading.Thread(target=for_ever, args=(work,), daemon=True).start()

    def follow(self, tenant: str) -> Iterator[tuple[str, Any]]:
        """What is there, and then what changes: (`state` | `queues` | `bus` | `alive`, value)."""
        shown: dict[str, Any] = {}
        seen_events = 0
        with self._changed:
            self._followers += 1
            looked = self._looked
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    news = self._changed.wait_for(lambda looked=looked: self._looked > looked, timeout=ALIVE_SECONDS)
                    looked, state, queues = self._looked, self._state_of(tenant), self._queues
                    events, new = list(self._events), self._event_count - seen_events
                    seen_events = self._event_count
                if not news:
                    yield "alive", None
                    continue
                for name, value in (("state", state), ("queues", queues)):
                    if shown.get(name) != value:
                        shown[name] = value
                        yield name, value
                fresh = events[max(0, len(events) - new) :]
                if mine := [event for event in fresh if event["org_id"] == tenant]:
                    yield "bus", mine
        finally:
            with self._changed:
                self._followers -= 1

    def _state_of(self, tenant: str) -> dict[str, Any]:
        empty: Shown = {"bulks": [], "cards": [], "orders": [], "operations": []}
        return {**newest(self._tenants.get(tenant, empty)), "tenants": sorted(self._tenants)}

    def _take_events(self) -> None:
        """Takes the events that are there, or come within a while."""
        answer = self._sqs.receive_message(
            QueueUrl=self._events_queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=ALIVE_SECONDS
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        with self._changed:
            self._arrived.extend(event for message in messages if (event := event_in(message["Body"])))
            self._changed.notify_all()
        self._sqs.delete_message_batch(QueueUrl=self._events_queue_url, Entries=entries)

    def _look_again(self) -> None:
        """Looks at table and queues, if anybody follows."""
        with self._changed:
            self._changed.wait_for(lambda: self._followers)
            arrived = list(self._arrived)
        began = time.monotonic()
        # After the events: the operations that they come of are there by now.
        tenants = self._table.read()
        queues = [self._depths(*urls) for urls in queue_urls()]
        took = time.monotonic() - began
        with self._changed:
            self._tenants, self._queues = tenants, queues
            known = {event["event_id"] for event in self._events}
            for event in arrived:
                if event["event_id"] not in known:  # it is delivered at least once
                    known.add(event["event_id"])
                    self._events.append(event | {"operation_id": operation_of(event, tenants)})
                    self._event_count += 1
            for _ in arrived:
                self._arrived.popleft()
            self._looked += 1
            self._changed.notify_all()
        time.sleep(max(LOOK_SECONDS, LOOK_SHARE * took))

    def _depths(self, queue: str, url: str, dead_letters_url: str) -> dict[str, Any]:
        waiting, working = self._depth(url)
        return {"queue": queue, "waiting": waiting, "working": working, "dead": sum(self._depth(dead_letters_url))}

    def _depth(self, url: str) -> tuple[int, int]:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(DEPTHS))["Attributes"]
        waiting, hidden = (int(attributes[name]) for name in DEPTHS)
        return waiting, hidden


def queue_urls() -> list[tuple[str, str, str]]:
    """Returns each queue that is shown, by the environment: its name, its URL and its dead-letter queue's."""
    variables = [name.removesuffix(QUEUE_URL) for name in os.environ if name.endswith(QUEUE_URL)]
    return [
        (name.lower().replace("_", "-"), os.environ[name + QUEUE_URL], os.environ[name + DLQ_URL])
        for name in variables
        if name + DLQ_URL in os.environ and name not in NOT_SHOWN
    ]


def event_in(body: str) -> Event | None:
    """The event in a message; none, if it holds no whole one: anybody may put anything on the bus or into the queue."""
    with suppress(ValueError, RecursionError):
        match json.loads(body):
            case {
                "detail": {
                    "event_id": str(),
                    "event_type": str(),
                    "org_id": str(),
                    "cid": str(),
                    "data": dict(),
                } as event
            }:
                return event
    return None


def operation_of(event: Event, tenants: dict[str, Shown]) -> str:
    """The operation that an event comes of: its ID is made of that, its time, the type, and what it is about."""
    data = event["data"]
    if "operation_id" in data:
        return data["operation_id"]
    for operation in tenants.get(event["org_id"], {}).get("operations", []):
        if operation["cid"] != event["cid"]:
            continue
        for item in ("card_id", "external_id"):
            name = f"{operation['created_at']}\n{event['event_type']}\n{data.get(item)}"
            # A row that somebody has made by hand may have any ID.
            with suppress(ValueError, AttributeError):
                if str(uuid.uuid5(uuid.UUID(operation["operation_id"]), name)) == event["event_id"]:
                    return operation["operation_id"]
    return ""


def for_ever(work: Any) -> None:
    """Works again and again; while the stack does not answer, not too often."""
    while True:
        try:
            work()
        except Exception as error:  # whatever it is, the page should live on
            print(f"{work.__name__}: {type(error).__name__}", file=sys.stderr, flush=True)
            time.sleep(RETRY_SECONDS)
