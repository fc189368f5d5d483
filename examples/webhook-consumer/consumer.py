#!/usr/bin/env python3
"""Receives Bindery's events by webhook, verifies the sender of each, and handles each once.

An event is delivered at least once, in any order. Its ID is the same each time. The consumer stores IDs in SQLite, in
the same transaction as the event's effect, so that neither can happen without the other.

    WEBHOOK_SECRETS="whsec_..." ./consumer.py --port 8080

While you rotate keys, give both, separated by a space.
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

# EventBridge's limit for an event.
MAX_BODY_BYTES = 1024 * 1024
# How long IDs are stored. Bindery archives events for 90 days, so it can replay them that long.
REMEMBERED_DAYS = 90


class Consumer:
    """Handles each event once. Replace `handle` with your own code."""

    def __init__(self, secrets: list[str], database: Path | str) -> None:
        self.webhooks = [Webhook(secret) for secret in secrets]
        self.database = database
        with self._connect() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS seen (event_id TEXT PRIMARY KEY, at TEXT) WITHOUT ROWID")
            connection.execute("CREATE TABLE IF NOT EXISTS events (event_type TEXT, data TEXT)")

    def take(self, headers: Mapping[str, str], body: bytes) -> HTTPStatus:
        """Returns the status to respond with. After an exception or a status other than 2xx, it is redelivered."""
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
        """Applies the event's effect, in the transaction that stores its ID."""
        row = [event["event_type"], json.dumps(event["data"])]
        connection.execute("INSERT INTO events VALUES (?, ?)", row)

    def _connect(self) -> sqlite3.Connection:
        # An exception rolls the transaction back. Concurrent writers wait for up to 5 s.
        return sqlite3.connect(self.database, timeout=5)

    @staticmethod
    def _is_signed(webhook: Webhook, headers: Mapping[str, str], body: bytes) -> bool:
        try:
            webhook.verify(body, dict(headers), json_parse=False)
            return True
        except Exception:  # The library raises many kinds of exceptions for a malformed signature.
            return False


def serve(consumer: Consumer, port: int) -> None:
    """Serves requests until the process is stopped."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_POST(self) -> None:  # noqa: N802 (the base class's name)
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.close_connection = True
                return self._respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            body = self.rfile.read(int(length))
            try:
                status = consumer.take(dict(self.headers), body)
            except Exception as error:
                self.log_error("%r", error)
                status = HTTPStatus.INTERNAL_SERVER_ERROR
            self._respond(status)

        def _respond(self, status: HTTPStatus) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="port on 127.0.0.1, behind a TLS proxy")
    parser.add_argument("--database", type=Path, default=Path("events.sqlite"))
    arguments = parser.parse_args()
    serve(Consumer(os.environ["WEBHOOK_SECRETS"].split(), arguments.database), arguments.port)


if __name__ == "__main__":
    main()
