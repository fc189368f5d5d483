#!/usr/bin/env python3
"""Deploys the template's resources for subscribers as a separate stack, and sends events through them.

Called by ./tests/run. The stack contains only the resources that are conditional on a subscriber, and those that they
reference, so that the other tests' events do not pass through it. The webhook's endpoint is the example in
examples/webhook-consumer, behind a sink that can inject other responses. The emulator creates no API destination from a
template, so the script creates one with the template's properties.

Do not run it within an hour of itself or of runbook.py on the same stack, because it sets metrics.
"""

import json
import os
import re
import socket
import sqlite3
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import punctuation
from typing import Any

from alarm_states import fires_and_returns_to_ok
from checks import Request, Response, check, eventually, serving
from stack import deploy
from stack.settings import ROOT, Settings, binary, deploy_parameters, free_port
from stack.template import read_template

STACK = f"subscribers-{uuid.uuid4().hex[:8]}"
TESTS_PYTHON = ROOT / "target" / "tests-venv" / "bin" / "python"
TENANT = "TN-11111111-2222-4333-8444-555555555555"

settings = Settings.from_environment()
events, secrets = deploy.client(settings, "events"), deploy.client(settings, "secretsmanager")


class Sink:
    """An endpoint that responds with injected faults, and otherwise forwards requests to its consumer."""

    def __init__(self) -> None:
        self.consumer: str | None = None
        self.requests: list[tuple[dict[str, str], bytes]] = []
        # Statuses for the next requests.
        self.faults: list[int] = []
        self.url = ""

    def respond(self, request: Request) -> Response:
        """Responds with the next fault, or as the consumer does."""
        self.requests.append((request.headers, request.body))
        return Response(self.faults.pop(0) if self.faults else self.consume())

    def consume(self) -> int:
        """Forwards the last request to the consumer, and returns the status."""
        headers, body = self.requests[-1]
        if not self.consumer:
            return 204
        try:
            return urllib.request.urlopen(urllib.request.Request(self.consumer, body, headers), timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code

    def wait(self, what: str, event: dict[str, Any], count: int = 1) -> list[tuple[dict[str, str], bytes]]:
        """Waits until this many requests with the event have arrived, and returns them."""
        mine = lambda: [one for one in self.requests if json.loads(one[1]) == event]  # noqa: E731
        return eventually(what, lambda: len(mine()) >= count and mine())


@contextmanager
def listening() -> Iterator[Sink]:
    """Yields a sink with its own URL."""
    sink = Sink()
    with serving(sink.respond) as url:
        sink.url = f"{url}/hooks"
        yield sink


@contextmanager
def consumer(secret: str, database: Path) -> Iterator[str]:
    """Runs the example consumer with this key, and yields its URL."""
    port = free_port()
    program = ROOT / "examples" / "webhook-consumer" / "consumer.py"
    process = subprocess.Popen(
        [TESTS_PYTHON, program, "--port", str(port), "--database", database],
        env={**os.environ, "WEBHOOK_SECRETS": secret},
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually("the consumer runs", listens)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def part(template: dict[str, Any], condition: str) -> dict[str, Any]:
    """Returns the template with only the resources on this condition, and those that they reference."""
    resources, wanted = template["Resources"], {}

    def want(name: str) -> None:
        if name in resources and name not in wanted:
            wanted[name] = resources[name]
            # Deployment preferences are left out, as on the local stack.
            properties = {key: value for key, value in resources[name].items() if key != "DeploymentPreference"}
            for other in re.findall(r"[A-Za-z0-9]+", json.dumps(properties)):
                want(other)

    for name in [name for name, resource in resources.items() if resource.get("Condition") == condition]:
        want(name)
    outputs = {name: one for name, one in template["Outputs"].items() if one.get("Condition") == condition}
    return {
        **template,
        "Resources": wanted,
        "Outputs": {**outputs, "EventBusName": template["Outputs"]["EventBusName"]},
    }


def publish(bus: str) -> dict[str, Any]:
    """Publishes a new event as Bindery does, and returns it."""
    event = {
        "event_id": str(uuid.uuid4()), "schema_version": 1, "domain": "cards", "event_type": "bind_card",
        "org_id": TENANT, "cid": "subscribers", "timestamp": "2026-11-22T03:50:32.821Z", "data": {"card_name": "é"},
    }  # fmt: skip
    entry = {"Source": "bindery", "DetailType": "bind_card", "Detail": json.dumps(event), "EventBusName": bus}
    published = events.put_events(Entries=[entry])
    check("an event is published", published["FailedEntryCount"] == 0)
    return event


def bindery(*arguments: str) -> Any:
    """Runs the operator's tool on this stack, and returns its output."""
    command = [binary("bindery"), "--stack", STACK, "--json", "--yes", *arguments]
    done = subprocess.run(command, env={**os.environ, **settings.aws_environment()}, capture_output=True, text=True)
    check(f"bindery {' '.join(arguments)}", done.returncode == 0 or print(done.stderr))
    return json.loads(done.stdout)


def handled(database: Path) -> int:
    """Returns the number of events that the consumer has handled."""
    return sqlite3.connect(database).execute("SELECT count(*) FROM events").fetchone()[0]


def retried_age() -> int:
    """Returns the greatest age of a retried event that the worker has reported, in seconds."""
    logs = deploy.client(settings, "logs")
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{STACK}-webhook-worker")["events"]
    lines = [json.loads(event["message"]) for event in found if '"RetriedAge"' in event["message"]]
    return max(line["RetriedAge"] for line in lines)


def webhooks(template: dict[str, Any], directory: Path, sink: Sink) -> None:
    """Sends events from the bus to the consumer, with a retry, a duplicate and a dead letter."""
    database = directory / "events.sqlite"
    # The emulator does not know `ExcludePunctuation`.
    template["Resources"]["WebhookSecret"]["Properties"]["GenerateSecretString"]["ExcludeCharacters"] = punctuation
    started = time.monotonic()
    parameters = {**deploy_parameters(), "JwtIssuer": "-", "JwtAudience": "-", "WithWebhook": "true"}
    outputs = deploy.run_sam(settings, STACK, part(template, "HasWebhook"), parameters)
    print(f"deployed in {time.monotonic() - started:.0f} s")
    bus, secret = outputs["EventBusName"], outputs["WebhookSecretArn"]
    key = secrets.get_secret_value(SecretId=secret)["SecretString"]
    # As described in infra/README.md.
    secrets.put_secret_value(SecretId=secret, SecretString=f"{sink.url} {key}")
    visible = json.dumps(deploy.client(settings, "cloudformation").describe_stacks(StackName=STACK), default=str)
    functions = deploy.client(settings, "lambda")
    visible += json.dumps(functions.get_function_configuration(FunctionName=f"{STACK}-webhook-worker"), default=str)
    check("the URL is only in the secret", sink.url not in visible and secret in visible)
    with consumer(f"whsec_{key}", database) as url:
        sink.consumer = url
        event = publish(bus)
        sink.wait("the event is delivered", event)
        eventually("the library verifies it, and the consumer handles it", lambda: handled(database) == 1)

        sink.faults = [500]
        event = publish(bus)
        [first, second] = sink.wait("a failed delivery is repeated", event, count=2)
        check("with the same event ID", first[0]["webhook-id"] == second[0]["webhook-id"] == event["event_id"])
        waited = int(second[0]["webhook-timestamp"]) - int(first[0]["webhook-timestamp"])
        check(f"after the backoff, not after the visibility timeout ({waited} s)", 7 <= waited <= 16)
        check("whose time counts in the age that the worker reports", 7 <= retried_age() <= 16)
        eventually("and is handled", lambda: handled(database) == 2)
        check("a duplicate is accepted", sink.consume() == 204)
        check("and dropped", handled(database) == 2)

        sink.faults = [410]
        event = publish(bus)
        letters = eventually("a refused event is dead-lettered", lambda: bindery("dead-letters", "webhook"))
        check("with its reason", "410" in letters[0]["reason"] and letters[0]["tenant"] == TENANT or print(letters))
        bindery("redrive", "webhook", "--all")
        sink.wait("a redriven event is delivered again", event, count=2)
        eventually("and is handled", lambda: handled(database) == 3)
        [row] = [row for row in bindery("queues") if row["queue"] == "webhook"]
        check("no dead letter remains", row["dead"] == 0)
    # All other alarms of subscribers are like those that runbook.py checks.
    fires_and_returns_to_ok(["webhook-old-retries"], STACK)


def api_destination(template: dict[str, Any], sink: Sink) -> None:
    """Checks that EventBridge posts events to an API destination, with the key."""
    resources = template["Resources"]
    bus, name = f"{STACK}-destination", f"{STACK}-events"
    events.create_event_bus(Name=bus)
    authorization = resources["ApiDestinationConnection"]["Properties"]["AuthorizationType"]
    key = {"ApiKeyName": template["Parameters"]["ApiDestinationHeader"]["Default"], "ApiKeyValue": "not-for-the-log"}
    connection = events.create_connection(
        Name=name, AuthorizationType=authorization, AuthParameters={"ApiKeyAuthParameters": key}
    )
    destination = events.create_api_destination(
        Name=name,
        ConnectionArn=connection["ConnectionArn"],
        InvocationEndpoint=sink.url,
        HttpMethod=resources["ApiDestination"]["Properties"]["HttpMethod"],
    )
    rule = resources["ApiDestinationRule"]["Properties"]
    events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(rule["EventPattern"]))
    [target] = rule["Targets"]
    role = "arn:aws:iam::000000000000:role/any"
    target = {
        "Id": target["Id"],
        "InputPath": target["InputPath"],
        "Arn": destination["ApiDestinationArn"],
        "RoleArn": role,
    }
    events.put_targets(Rule=name, EventBusName=bus, Targets=[target])
    [(headers, _)] = sink.wait("the API destination receives the event without its envelope", publish(bus))
    check("with its key", headers["x-api-key"] == "not-for-the-log")


def main() -> None:
    """Runs all checks."""
    template = read_template()
    try:
        with tempfile.TemporaryDirectory() as directory, listening() as first, listening() as second:
            api_destination(template, first)
            webhooks(template, Path(directory), second)
    finally:
        # Otherwise its worker would continue to poll for messages.
        deploy.client(settings, "cloudformation").delete_stack(StackName=STACK)


main()
