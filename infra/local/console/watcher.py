"""Watches the stack's table, queues and events while a page is open."""

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
# Seconds between two reads of the table. The pause is also at least POLL_SHARE times as long as the last read took,
# because the emulator is slow with a large table, and it runs the functions too.
POLL_SECONDS = 0.7
POLL_SHARE = 4
# Seconds between two keep-alive messages to a page. They also detect a page that has disconnected.
ALIVE_SECONDS = 10
RETRY_SECONDS = 2
QUEUE_URL, DLQ_URL = "_QUEUE_URL", "_DLQ_URL"
# This queue holds events, which the page shows separately.
NOT_SHOWN = {"EVENTS"}
# This queue holds parked messages, and has no dead-letter queue.
PARKED = "PARKED"
DEPTHS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

Event = dict[str, Any]


class Watcher:
    """The state of the stack, updated while a page follows it."""

    def __init__(self, table: str, events_queue_url: str) -> None:
        self._table, self._events_queue_url = Table(table), events_queue_url
        self._sqs = boto3.client("sqs")
        # Guards all fields below. It is notified of every change.
        self._changed = threading.Condition()
        self._followers = 0
        self._arrived: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._event_count = 0
        self._tenants: dict[str, Shown] = {}
        self._queues: list[dict[str, Any]] = []
        self._polls = 0

    def start(self) -> None:
        """Starts the threads that receive events and read the table."""
        for work in (self._receive_events, self._poll):
            threading.Thread(target=run_forever, args=(work,), daemon=True).start()

    def follow(self, tenant: str) -> Iterator[tuple[str, Any]]:
        """Yields the current state, and then each change: (`state` | `queues` | `bus` | `alive`, value)."""
        shown: dict[str, Any] = {}
        seen_events = 0
        with self._changed:
            self._followers += 1
            polls = self._polls
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    news = self._changed.wait_for(lambda polls=polls: self._polls > polls, timeout=ALIVE_SECONDS)
                    polls, state, queues = self._polls, self._state_of(tenant), self._queues
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

    def _receive_events(self) -> None:
        """Receives events, and waits a while for them (long polling)."""
        received = self._sqs.receive_message(
            QueueUrl=self._events_queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=ALIVE_SECONDS
        )
        messages = received.get("Messages", [])
        if not messages:
            return
        entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
        with self._changed:
            self._arrived.extend(event for message in messages if (event := event_in(message["Body"])))
            self._changed.notify_all()
        self._sqs.delete_message_batch(QueueUrl=self._events_queue_url, Entries=entries)

    def _poll(self) -> None:
        """Waits until a page follows, and reads table and queues."""
        with self._changed:
            self._changed.wait_for(lambda: self._followers)
            arrived = list(self._arrived)
        began = time.monotonic()
        # Read after the events, so that their operations are in the table.
        tenants = self._table.read()
        queues = [self._depths(*urls) for urls in queue_urls()]
        took = time.monotonic() - began
        with self._changed:
            self._tenants, self._queues = tenants, queues
            known = {event["event_id"] for event in self._events}
            for event in arrived:
                if event["event_id"] not in known:  # events are delivered at least once
                    known.add(event["event_id"])
                    self._events.append(event | {"operation_id": operation_of(event, tenants)})
                    self._event_count += 1
            for _ in arrived:
                self._arrived.popleft()
            self._polls += 1
            self._changed.notify_all()
        time.sleep(max(POLL_SECONDS, POLL_SHARE * took))

    def _depths(self, queue: str, url: str, dead_letters_url: str | None) -> dict[str, Any]:
        waiting, working = self._depth(url)
        dead = sum(self._depth(dead_letters_url)) if dead_letters_url else None
        return {"queue": queue, "waiting": waiting, "working": working, "dead": dead}

    def _depth(self, url: str) -> tuple[int, int]:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(DEPTHS))["Attributes"]
        waiting, hidden = (int(attributes[name]) for name in DEPTHS)
        return waiting, hidden


def queue_urls() -> list[tuple[str, str, str | None]]:
    """Returns the name, URL and dead-letter queue URL of each queue to show, from the environment."""
    variables = [name.removesuffix(QUEUE_URL) for name in os.environ if name.endswith(QUEUE_URL)]
    return [
        (name.lower().replace("_", "-"), os.environ[name + QUEUE_URL], os.environ.get(name + DLQ_URL))
        for name in variables
        if (name + DLQ_URL in os.environ or name == PARKED) and name not in NOT_SHOWN
    ]


def event_in(body: str) -> Event | None:
    """Returns the event in a message, or None if it is incomplete: any program can put data into the queue."""
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
    """Returns the operation of an event. The event's ID is derived from it, its time, the type and the subject."""
    data = event["data"]
    if "operation_id" in data:
        return data["operation_id"]
    for operation in tenants.get(event["org_id"], {}).get("operations", []):
        if operation["cid"] != event["cid"]:
            continue
        for item in ("card_id", "external_id"):
            name = f"{operation['created_at']}\n{event['event_type']}\n{data.get(item)}"
            # A row that was written by hand may have any ID.
            with suppress(ValueError, AttributeError):
                if str(uuid.uuid5(uuid.UUID(operation["operation_id"]), name)) == event["event_id"]:
                    return operation["operation_id"]
    return ""


def run_forever(work: Any) -> None:
    """Repeats the work, with a pause after a failure."""
    while True:
        try:
            work()
        except Exception as error:  # no failure may end the thread
            print(f"{work.__name__}: {type(error).__name__}", file=sys.stderr, flush=True)
            time.sleep(RETRY_SECONDS)
