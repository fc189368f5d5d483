"""python -m unittest, in this folder."""

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
    """Headers and body of a delivery, as Bindery sends it: one signature by each of its keys."""
    body, at = json.dumps(event), datetime.now(UTC) - age
    signatures = [Webhook(secret).sign(event["event_id"], at, body) for secret in secrets]
    headers = {"Webhook-Id": event["event_id"], "Webhook-Timestamp": str(int(at.timestamp()))}
    return {**headers, "Webhook-Signature": " ".join(signatures)}, body.encode()


class ConsumerTest(unittest.TestCase):
    """Each with a database of its own."""

    def setUp(self) -> None:
        """A new database."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.database = Path(directory.name) / "events.sqlite"
        self.consumer = Consumer([SECRET], self.database)

    def handled(self) -> int:
        """How many events have been handled."""
        return sqlite3.connect(self.database).execute("SELECT count(*) FROM events").fetchone()[0]

    def test_an_event_is_handled_once(self) -> None:
        """However often it comes."""
        for age in range(3):
            # Each attempt has a time and a signature of its own.
            delivery = request(SECRET, age=timedelta(seconds=age))
            self.assertEqual(self.consumer.take(*delivery), HTTPStatus.NO_CONTENT)
        self.assertEqual(self.handled(), 1)
        other = request(SECRET, event={**EVENT, "event_id": "another"})
        self.assertEqual(self.consumer.take(*other), HTTPStatus.NO_CONTENT)
        self.assertEqual(self.handled(), 2)

    def test_an_event_is_handled_once_at_once(self) -> None:
        """By threads that race."""
        delivery = request(SECRET)
        threads = [threading.Thread(target=self.consumer.take, args=delivery) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.handled(), 1)

    def test_an_event_that_could_not_be_handled_is_not_remembered(self) -> None:
        """It comes again, and is handled then."""
        broken = {key: value for key, value in EVENT.items() if key != "data"}
        with self.assertRaises(KeyError):
            self.consumer.take(*request(SECRET, event=broken))
        self.consumer.take(*request(SECRET))
        self.assertEqual(self.handled(), 1)

    def test_what_is_not_signed_is_refused(self) -> None:
        """Nor what is signed for something else."""
        headers, body = request(SECRET)
        signature = headers["Webhook-Signature"]
        spoilt = [
            (request(OTHER)[0], body),
            (headers, body + b" "),
            ({**headers, "Webhook-Id": "another"}, body),
            *(({**headers, "Webhook-Signature": wrong}, body) for wrong in ("", "v1,", "v1", "v2," + signature[3:])),
            ({}, body),
        ]
        for number, delivery in enumerate(spoilt):
            with self.subTest(number):
                self.assertEqual(self.consumer.take(*delivery), HTTPStatus.UNAUTHORIZED)
        self.assertEqual(self.handled(), 0)

    def test_what_is_old_or_from_the_future_is_refused(self) -> None:
        """By more than five minutes."""
        for minutes, expected in (
            (4, HTTPStatus.NO_CONTENT),
            (6, HTTPStatus.UNAUTHORIZED),
            (-6, HTTPStatus.UNAUTHORIZED),
        ):
            delivery = request(SECRET, age=timedelta(minutes=minutes))
            self.assertEqual(self.consumer.take(*delivery), expected, minutes)

    def test_keys_are_rotated(self) -> None:
        """Without an event being refused."""
        # Bindery signs with both keys: a consumer that knows either can verify.
        both = request(SECRET, OTHER)
        for secrets in ([SECRET], [OTHER], [OTHER, SECRET]):
            self.assertEqual(Consumer(secrets, self.database).take(*both), HTTPStatus.NO_CONTENT)
        # And one that knows both takes what either has signed.
        for secret in (SECRET, OTHER):
            knows_both = Consumer([OTHER, SECRET], self.database)
            self.assertEqual(knows_both.take(*request(secret)), HTTPStatus.NO_CONTENT)
        self.assertEqual(self.handled(), 1)
