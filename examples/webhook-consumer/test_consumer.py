"""Tests of consumer.py. Run `python -m unittest` in this folder."""

import json
import sqlite3
import tempfile
import threading
import unittest
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from consumer import Consumer
from standardwebhooks import Webhook

SECRET, OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
EVENT = {"event_id": "1be7080a-4d6f-5cee-9da5-d4acc3344e9c", "event_type": "bind_card", "data": {"card_id": 1}}


def request(*secrets: str, event: dict[str, Any] = EVENT, age: timedelta = timedelta()) -> tuple[dict[str, str], bytes]:
    """Returns the headers and the body of a delivery, with a signature by each key, as Bindery sends it."""
    body, at = json.dumps(event), datetime.now(UTC) - age
    signatures = [Webhook(secret).sign(event["event_id"], at, body) for secret in secrets]
    headers = {"Webhook-Id": event["event_id"], "Webhook-Timestamp": str(int(at.timestamp()))}
    return {**headers, "Webhook-Signature": " ".join(signatures)}, body.encode()


class ConsumerTest(unittest.TestCase):
    """Tests of the consumer, each with its own database."""

    def setUp(self) -> None:
        """Creates a new database."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.database = Path(directory.name) / "events.sqlite"
        self.consumer = Consumer([SECRET], self.database)

    def handled(self) -> int:
        """Returns the number of handled events."""
        return sqlite3.connect(self.database).execute("SELECT count(*) FROM events").fetchone()[0]

    def test_an_event_is_handled_once(self) -> None:
        """An event that is delivered again, with a new time and signature, is not handled again."""
        for age in range(3):
            # Each attempt has its own time and signature.
            delivery = request(SECRET, age=timedelta(seconds=age))
            self.assertEqual(self.consumer.take(*delivery), HTTPStatus.NO_CONTENT)
        self.assertEqual(self.handled(), 1)
        other = request(SECRET, event={**EVENT, "event_id": "another"})
        self.assertEqual(self.consumer.take(*other), HTTPStatus.NO_CONTENT)
        self.assertEqual(self.handled(), 2)

    def test_concurrent_deliveries_are_handled_once(self) -> None:
        """Concurrent deliveries of an event are handled once."""
        delivery = request(SECRET)
        threads = [threading.Thread(target=self.consumer.take, args=delivery) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.handled(), 1)

    def test_an_event_whose_handling_failed_is_not_stored(self) -> None:
        """The next delivery of an event that failed is handled."""
        broken = {key: value for key, value in EVENT.items() if key != "data"}
        with self.assertRaises(KeyError):
            self.consumer.take(*request(SECRET, event=broken))
        self.consumer.take(*request(SECRET))
        self.assertEqual(self.handled(), 1)

    def test_invalid_signatures_are_refused(self) -> None:
        """A wrong key, body, ID or signature is refused, and so is a delivery without a signature."""
        headers, body = request(SECRET)
        signature = headers["Webhook-Signature"]
        invalid = [
            (request(OTHER)[0], body),
            (headers, body + b" "),
            ({**headers, "Webhook-Id": "another"}, body),
            *(({**headers, "Webhook-Signature": wrong}, body) for wrong in ("", "v1,", "v1", "v2," + signature[3:])),
            ({}, body),
        ]
        for number, delivery in enumerate(invalid):
            with self.subTest(number):
                self.assertEqual(self.consumer.take(*delivery), HTTPStatus.UNAUTHORIZED)
        self.assertEqual(self.handled(), 0)

    def test_old_and_future_deliveries_are_refused(self) -> None:
        """Deliveries may be five minutes old or early, and no more."""
        for minutes, expected in (
            (4, HTTPStatus.NO_CONTENT),
            (6, HTTPStatus.UNAUTHORIZED),
            (-6, HTTPStatus.UNAUTHORIZED),
        ):
            delivery = request(SECRET, age=timedelta(minutes=minutes))
            self.assertEqual(self.consumer.take(*delivery), expected, minutes)

    def test_keys_are_rotated(self) -> None:
        """No event is refused during a rotation of keys."""
        # Bindery signs with both keys, so a consumer that knows either can verify.
        both = request(SECRET, OTHER)
        for secrets in ([SECRET], [OTHER], [OTHER, SECRET]):
            self.assertEqual(Consumer(secrets, self.database).take(*both), HTTPStatus.NO_CONTENT)
        # A consumer that knows both accepts an event signed with either.
        for secret in (SECRET, OTHER):
            knows_both = Consumer([OTHER, SECRET], self.database)
            self.assertEqual(knows_both.take(*request(secret)), HTTPStatus.NO_CONTENT)
        self.assertEqual(self.handled(), 1)
