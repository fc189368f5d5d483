"""Runs the candidates of the check, with the Runtime API, an emulated DynamoDB, and a fake queue and bus."""

import json
import os
import queue
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Row = dict[str, Any]

REGION = "eu-central-1"
TABLE = "check"
START_SECONDS = 60
RESPONSE_SECONDS = 20
DEADLINE_SECONDS = 10


class Handler(BaseHTTPRequestHandler):
    """A handler of requests on connections that stay open."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Suppresses the log of requests."""

    def received(self) -> bytes:
        """Reads the request's body."""
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def respond(self, status: int, body: bytes, headers: Row | None = None) -> None:
        """Sends the response."""
        self.send_response(status)
        for name, value in {**(headers or {}), "content-length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)


def listen(handler: type[Handler]) -> tuple[ThreadingHTTPServer, str]:
    """Starts a server on a free port, and returns it with its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"127.0.0.1:{server.server_port}"


class Emulator:
    """A DynamoDB emulator, run by ministack."""

    def __init__(self, binary: Path) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="baselines-")
        server, address = listen(Handler)
        server.shutdown()
        server.server_close()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.home.name,
            "TMPDIR": self.home.name,
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": address.rpartition(":")[2],
            "MINISTACK_REGION": REGION,
            "LOG_LEVEL": "ERROR",
            "IOT_MTLS_ENABLED": "false",
            "SFTP_ENABLED": "false",
        }
        self.url = f"http://{address}"
        self.process = subprocess.Popen([str(binary)], env=environment)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None, "ministack did not start"
                time.sleep(0.1)
        key = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
        attributes = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
        self.call("CreateTable", KeySchema=key, AttributeDefinitions=attributes, BillingMode="PAY_PER_REQUEST")

    def call(self, operation: str, **parameters: Any) -> Row:
        """Calls the emulator, and returns its response."""
        body = json.dumps({"TableName": TABLE, **parameters}).encode()
        status, response, _ = self.forward({"x-amz-target": f"DynamoDB_20120810.{operation}"}, body)
        assert status == 200, response
        return json.loads(response)

    def forward(self, headers: Row, body: bytes) -> tuple[int, bytes, Row]:
        """Forwards a candidate's call to the emulator, and returns its response."""
        headers = {**headers, "content-type": "application/x-amz-json-1.0"}
        request = urllib.request.Request(self.url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=RESPONSE_SECONDS) as response:
                return response.status, response.read(), {}
        except urllib.error.HTTPError as error:
            return error.code, error.read(), {}

    def rows(self) -> list[Row]:
        """Returns all rows, sorted by their keys."""
        rows = self.call("Scan", ConsistentRead=True)["Items"]
        return sorted(rows, key=lambda row: (row["pk"]["S"], row["sk"]["S"]))

    def reset(self, rows: list[Row]) -> None:
        """Replaces all rows."""
        for row in self.rows():
            self.call("DeleteItem", Key={name: row[name] for name in ("pk", "sk")})
        self.put(rows)

    def put(self, rows: list[Row]) -> None:
        """Puts these rows, and overwrites existing ones."""
        for row in rows:
            self.call("PutItem", Item=row)

    def stop(self) -> None:
        """Stops the emulator."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.home.cleanup()


class Aws:
    """All services at one address. Records every call, and overrides responses as the current case requires."""

    def __init__(self, emulator: Emulator) -> None:
        self.calls: list[tuple[str, Row]] = []
        # Responds to a call in place of the service. Gets the call's operation and its number, from 1.
        self.override: Callable[[str, int], tuple[int, Row] | None] = lambda _operation, _number: None
        lock = threading.Lock()

        class Service(Handler):
            def do_POST(self) -> None:  # noqa: N802
                operation = self.headers["x-amz-target"].rpartition(".")[2]
                body = self.received()
                with lock:
                    aws.calls.append((operation, json.loads(body)))
                    number = sum(name == operation for name, _ in aws.calls)
                    overridden = aws.override(operation, number)
                if overridden:
                    status, response = overridden
                    self.respond(status, json.dumps(response).encode(), {"content-type": "application/x-amz-json-1.0"})
                elif operation == "SendMessage":
                    self.respond(200, b'{"MessageId":"m","MD5OfMessageBody":"0"}')
                elif operation == "PutEvents":
                    entries = [{"EventId": "e"} for _ in json.loads(body)["Entries"]]
                    self.respond(200, json.dumps({"FailedEntryCount": 0, "Entries": entries}).encode())
                else:
                    self.respond(*emulator.forward({"x-amz-target": self.headers["x-amz-target"]}, body))

        aws = self
        _, address = listen(Service)
        self.url = f"http://{address}"


class Candidate:
    """A function's process, with the Runtime API that it polls."""

    def __init__(self, name: str, command: list[str], aws: Aws) -> None:
        self.name = name
        self.events, self.responses, self.asked = queue.Queue(), queue.Queue(), threading.Event()

        class Runtime(Handler):
            def do_GET(self) -> None:  # noqa: N802
                candidate.asked.set()
                self.respond(200, json.dumps(candidate.events.get()).encode(), {
                    "content-type": "application/json",
                    "lambda-runtime-aws-request-id": "00000000-0000-4000-8000-000000000000",
                    "lambda-runtime-deadline-ms": int((time.time() + DEADLINE_SECONDS) * 1000),
                    "lambda-runtime-invoked-function-arn": "arn:aws:lambda:eu-central-1:000000000000:function:check",
                    "lambda-runtime-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
                })  # fmt: skip

            def do_POST(self) -> None:  # noqa: N802
                body = self.received()
                assert self.path.endswith("/response"), body
                candidate.responses.put(json.loads(body))
                self.respond(202, b"")

        candidate = self
        _, address = listen(Runtime)
        environment = {
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "check",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_ENDPOINT_URL_DYNAMODB": aws.url,
            "TABLE_NAME": TABLE,
            "BIND_CARD_QUEUE_URL": f"{aws.url}/000000000000/bind-card",
            "BIND_CARD_DLQ_URL": f"{aws.url}/000000000000/bind-card-dead-letters",
            "EVENT_BUS_NAME": "check",
            "MAX_RECEIVES": "5",
            "STACK_NAME": "check",
            # On Lambda, a function's code is in a read-only directory.
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": "true",
        }
        descriptor, path = tempfile.mkstemp(prefix="baselines-")
        self.log = open(path)
        os.unlink(path)
        started = time.perf_counter()
        self.process = subprocess.Popen(command, env=environment, stdout=descriptor)
        os.close(descriptor)
        assert self.asked.wait(START_SECONDS), f"{name} did not start"
        self.start_time = time.perf_counter() - started

    def invoke(self, event: Row) -> tuple[Row, float]:
        """Invokes the function, and returns its response and the duration in seconds."""
        started = time.perf_counter()
        self.events.put(event)
        response = self.responses.get(timeout=RESPONSE_SECONDS)
        return response, time.perf_counter() - started

    def take_lines(self) -> list[Row]:
        """Returns the log lines since the last call."""
        return [json.loads(line) for line in self.log.read().splitlines()]

    def stop(self) -> None:
        """Stops the process."""
        self.process.kill()
        self.process.wait()
