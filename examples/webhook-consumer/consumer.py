#!/usr/bin/env python3
"""Takes Bindery's events by webhook: verifies who sent each, and handles each once.

An event comes at least once, and in any order. Its ID is the same each time: IDs are remembered in SQLite, in the same
transaction as what the event does, so that neither can happen without the other.

    WEBHOOK_SECRETS="whsec_..." ./consumer.py --port 8080

While keys are rotated, name both, separated by a space.
"""

import argparse
import json
import os
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook

# EventBridge takes no larger event.
MAX_BODY_BYTES = 1024 * 1024
# How long IDs are remembered. Bindery keeps events for 90 days, to be published again.
REMEMBERED_DAYS = 90


class Consumer:
    """What is done with an event; replace `handle` by what yours is to do."""

    def __init__(self, secrets: list[str], database: Path | str) -> None:
        self.webhooks = [Webhook(secret) for secret in secrets]
        self.database = database
        with self._connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS seen (event_id TEXT PRIMARY KEY, at TEXT) WITHOUT ROWID")
            connection.execute("CREATE TABLE IF NOT EXISTS events (event_type TEXT, data TEXT)")

    def take(self, headers: Mapping[str, str], body: bytes) -> HTTPStatus:
        """What to answer. Whatever is not 2xx, or an exception, has the event come again later."""
        if not any(self._is_signed(webhook, headers, body) for webhook in self.webhooks):
            return HTTPStatus.UNAUTHORIZED
        event = json.loads(body)
        with self._connect() as connection:
            insert = "INSERT OR IGNORE INTO seen VALUES (?, datetime('now'))"
            if connection.execute(insert, [event["event_id"]]).rowcount:
                self.handle(connection, event)
                old = f"datetime('now', '-{REMEMBERED_DAYS} days')"
                connection.execute(f"DELETE FROM seen WHERE at < {old}")
        return HTTPStatus.NO_CONTENT

    def handle(self, connection: sqlite3.Connection, event: dict[str, Any]) -> None:
        """Does what there is to do about the event, in the transaction that remembers its ID."""
        row = [event["event_type"], json.dumps(event["data"])]
        connection.execute("INSERT INTO events VALUES (?, ?)", row)

    def _connect(self) -> sqlite3.Connection:
        # Left by an exception, it changes nothing. The next writer waits.
        return sqlite3.connect(self.database, timeout=5)

    @staticmethod
    def _is_signed(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
        try:
            webhook.verify(body, dict(headers), json_parse=False)
            return True
        except Exception:  # A signature that is none has the library raise all kinds.
            return False


def serve(consumer: Consumer, port: int) -> None:
    """Serves, until it is stopped."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:  # noqa: N802 (the base class's name)
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.close_connection = True
                return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            body = self.rfile.read(int(length))
            try:
                status = consumer.take(dict(self.headers), body)
            except Exception as error:
                self.log_error("%r", error)
                status = HTTPStatus.INTERNAL_SERVER_ERROR
            self._answer(status)

        def _answer(self, status: HTTPStatus) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="on 127.0.0.1, behind whatever ends TLS")
    parser.add_argument("--database", type=Path, default=Path("events.sqlite"))
    arguments = parser.parse_args()
    serve(Consumer(os.environ["WEBHOOK_SECRETS"].split(), arguments.database), arguments.port)


if __name__ == "__main__":
    main()
