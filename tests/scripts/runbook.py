#!/usr/bin/env python3
"""Operates the stack whose variables are set, as the runbook has it: poison, alarms, redrive, replay, restore.

Called by ./tests/run, alone on the stack, and not twice in a quarter of an hour: it pauses workers, breaks one,
publishes events again, and puts values under metrics.

The emulator has no metrics of queues and reads none out of logs. What the metric would be is read off the queue, or
off the line in the log, and put under the alarm's own name: so the deployed alarm is what goes off.
"""

import json
import os
import re
import shlex
import subprocess
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import requests

ROOT = Path(__file__).resolve().parents[2]
STACK = os.environ["BINDERY_STACK"]
TABLE = os.environ["TABLE_NAME"]
TENANT = f"TN-{uuid.uuid4()}"
# Numbers that occur nowhere else.
ACCOUNT, CUSTOMER = "400155667788", "700155667788"
STARTED = time.time()
PATIENCE_SECONDS = 90
# How long a value counts that was put under a metric.
COUNTS_SECONDS = 1
BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"

sqs, events, dynamodb = boto3.client("sqs"), boto3.client("events"), boto3.client("dynamodb")
functions, logs, cloudwatch = boto3.client("lambda"), boto3.client("logs"), boto3.client("cloudwatch")


def check(what: str, holds: object) -> None:
    """Says what holds, or ends here."""
    if not holds:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


def eventually(what: str, ask: Callable[[], Any]) -> Any:
    """The first answer that counts as true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if answer := ask():
            check(what, True)
            return answer
        time.sleep(0.3)
    raise SystemExit(f"FAILED: {what} within {PATIENCE_SECONDS} s")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The operator's tool, with nobody to ask."""
    command, environment = [BINARIES / "bindery", *arguments], {**os.environ, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def bindery(*arguments: str) -> str:
    """What the operator's tool prints."""
    done = run(*arguments)
    check(f"bindery {' '.join(arguments[:3])}", done.returncode == 0 or print(done.stderr))
    return done.stdout


def call(method: str, path: str, expected: int, **options: Any) -> Any:
    """The answer's body."""
    headers = {"Authorization": f"Bearer {TOKEN}", "x-account-id": ACCOUNT, "x-customer-id": CUSTOMER}
    answer = requests.request(method, os.environ["BINDERY_URL"] + path, headers=headers, timeout=30, **options)
    if answer.status_code != expected:
        raise SystemExit(f"FAILED: {method} {path}: {answer.status_code} {answer.text}")
    return answer.json()


def bind(card: int) -> str:
    """The operation."""
    return call("PUT", f"/wallet/v2/cards/{card}/noname/bind", 202)["operation_id"]


def subscribe() -> str:
    """A queue of this tenant's events."""
    url = sqs.create_queue(QueueName=f"operations-{TENANT}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule, bus = f"operations-{TENANT}", os.environ["EVENT_BUS_NAME"]
    pattern = {"source": ["bindery"], "detail": {"org_id": [TENANT]}}
    events.put_rule(Name=rule, EventBusName=bus, EventPattern=json.dumps(pattern))
    events.put_targets(Rule=rule, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def take(url: str) -> list[dict[str, Any]]:
    """The events that are there now."""
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [json.loads(message["Body"])["detail"] for message in messages]


def take_bound(url: str, wanted: set[int], among_others: bool = False) -> None:
    """Waits for these cards' events of being bound."""
    bound: set[int] = set()

    def all_are_bound() -> bool:
        told = [event["data"] for event in take(url)]
        bound.update(
            data["card_id"]
            for data in told
            if (data.get("operation_type"), data["status"]) == ("BIND_NONAME", "SUCCESS")
        )
        return bound >= wanted

    eventually(f"{len(wanted)} card(s) are bound", all_are_bound)
    check("and no other", bound == wanted or among_others)


def url_of(queue: str) -> str:
    """The URL of a queue of the stack."""
    return sqs.get_queue_url(QueueName=f"{STACK}-{queue}")["QueueUrl"]


def depth(queue: str) -> int:
    """The messages of a queue, by its name, as CloudWatch counts them."""
    name = "ApproximateNumberOfMessages"
    return int(sqs.get_queue_attributes(QueueUrl=url_of(queue), AttributeNames=[name])["Attributes"][name])


def mapping(worker: str) -> dict[str, Any]:
    """What feeds the worker."""
    return functions.list_event_source_mappings(FunctionName=f"{STACK}-{worker}-worker:live")["EventSourceMappings"][0]


@contextmanager
def binds_wait() -> Iterator[None]:
    """The kill switch of binds."""
    functions.update_event_source_mapping(UUID=mapping("bind-card")["UUID"], Enabled=False)
    yield
    functions.update_event_source_mapping(UUID=mapping("bind-card")["UUID"], Enabled=True)


def alarm(name: str) -> dict[str, Any]:
    """The alarm as it was deployed."""
    return cloudwatch.describe_alarms(AlarmNames=[f"{STACK}-{name}"])["MetricAlarms"][0]


def window(said: dict[str, Any]) -> int:
    """How far back the alarm looks, in seconds."""
    return said["Period"] * said["EvaluationPeriods"]


def measured(name: str, value: float) -> str:
    """The alarm's state, with this value of its metric: at the far end of its window, so that the next counts alone."""
    said = alarm(name)
    at = datetime.fromtimestamp(time.time() - window(said) + COUNTS_SECONDS, UTC)
    data = {"MetricName": said["MetricName"], "Dimensions": said["Dimensions"], "Timestamp": at, "Value": value}
    cloudwatch.put_metric_data(Namespace=said["Namespace"], MetricData=[data])
    return alarm(name)["StateValue"]


def comes_to_rest(name: str, value: Callable[[], float]) -> None:
    """The alarm is over, with this value of its metric."""

    def is_over() -> bool:
        time.sleep(COUNTS_SECONDS)
        return measured(name, value()) == "OK"

    eventually(f"{name} is over", is_over)


def every_alarm_goes_off_and_is_over() -> None:
    """Those of one kind together: the emulator asks the metric's name alone, and computes none."""
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{STACK}-")
    kinds = defaultdict(list)
    for said in (alarm for page in pages for alarm in page["MetricAlarms"]):
        kinds[(window(said), said["Namespace"], said["MetricName"], said["Threshold"])].append(said)
    # The longest windows first, in which what is put for others would count.
    for (_, _, metric, threshold), alike in sorted(kinds.items(), key=lambda kind: kind[0][0], reverse=True):
        names = [said["AlarmName"] for said in alike]
        first = names[0].removeprefix(f"{STACK}-")

        def states(names: list[str] = names) -> set[str]:
            return {said["StateValue"] for said in cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]}

        comes_to_rest(first, lambda threshold=threshold: threshold)
        check(f"{len(names)} alarm(s) on {metric} are still at {threshold:.0f}", states() == {"OK"})
        measured(first, threshold + 1)
        check("and go off beyond", states() == {"ALARM"})
        comes_to_rest(first, lambda threshold=threshold: threshold)
        check("and are over", states() == {"OK"})


def metric_lines(function: str) -> list[dict[str, Any]]:
    """The lines of the embedded metric format that the function has written since all this began.

    It writes at most one for each set of dimensions in an invocation.
    """
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{STACK}-{function}", startTime=int(STARTED * 1000)
    )
    lines, written = [], defaultdict(set)
    for event in (event for page in pages for event in page["events"]):
        if event["message"].startswith("START"):
            written[event["logStreamName"]].clear()
        elif '"_aws"' in event["message"]:
            lines.append(json.loads(event["message"]))
            if lines[-1].get("Code") in written[event["logStreamName"]]:
                raise SystemExit(f"FAILED: {function} writes its metrics more than once an invocation")
            written[event["logStreamName"]].add(lines[-1].get("Code"))
    if TENANT in json.dumps(lines):
        raise SystemExit("FAILED: somebody is named in a metric")
    return lines


def counted(function: str, metric: str) -> int:
    """What the function has counted so far."""
    values = [line[metric] for line in metric_lines(function) if metric in line]
    return sum(len(value) if isinstance(value, list) else value for value in values)


def issue(url: str, count: int) -> list[int]:
    """So many cards."""
    body = {"program_id": 1, "external_ids": [f"card-{number}" for number in range(count)]}
    bulk = call("POST", "/cards/v1/bulks", 201, json=body)["id"]
    call("POST", f"/cards/v1/bulks/{bulk}/start", 202)
    cards: set[int] = set()
    ends = []

    def all_are_there() -> bool:
        for event in take(url):
            if event["event_type"] == "create":
                cards.add(event["data"]["card_id"])
            else:
                ends.append(event["data"]["issued"])
        return len(cards) == count and ends == [count]

    eventually(f"{count} cards are issued, and the start is done", all_are_there)
    return sorted(cards)


def archived_events_are_published_again(url: str, card: int) -> None:
    """A consumer that lost an event gets the same one again."""
    started = time.time()
    bind(card)
    first = eventually("an event comes", lambda: take(url))
    bindery("--yes", "replay", "--from", rfc3339(started - 1), "--to", rfc3339(time.time() + 1))
    eventually("the same comes again", lambda: first[0] in take(url))


def a_function_that_fails_is_told() -> None:
    """A crash is Lambda's to count; a 5xx the function's own."""
    answer = functions.invoke(FunctionName=f"{STACK}-bind-card-worker:live", Payload=b'{"no": "messages"}')
    check("the function fails", answer.get("FunctionError"))
    # Any metric has the emulator look at its alarms; Lambda's it has counted itself.
    cloudwatch.put_metric_data(Namespace="tests", MetricData=[{"MetricName": "any", "Value": 1}])
    eventually("the alarm on its errors goes off", lambda: alarm("bind-card-worker-errors")["StateValue"] == "ALARM")

    check(
        "none of its answers is a 5xx", counted("get-card", "Failed") == 0 and measured("get-card-failures", 0) == "OK"
    )
    key = {"pk": {"S": f"{TENANT}#CARD#900155667788"}, "sk": {"S": "CARD"}}
    dynamodb.put_item(TableName=TABLE, Item={**key, "status": {"S": "SHINY"}})
    for _ in range(4):
        call("GET", "/cards/v1/cards/900155667788", 500)
    eventually("the function counts what it failed", lambda: counted("get-card", "Failed") == 4)
    check("the alarm stops a deployment", measured("get-card-failures", counted("get-card", "Failed")) == "ALARM")
    comes_to_rest("get-card-failures", lambda: 0)
    found = run("--json", "check")
    [finding, _] = [json.loads(line) for line in found.stdout.splitlines()]
    check("the check finds that row alone", (finding["finding"], finding["pk"]) == ("UNREADABLE_ROW", key["pk"]["S"]))
    check("and ends with 1", found.returncode == 1)
    dynamodb.delete_item(TableName=TABLE, Key=key)


def a_worker_that_fails_is_told(url: str, cards: list[int]) -> None:
    """A version that uses another table is deployed, and taken back."""
    name, of_worker = f"{STACK}-bind-card-worker", "bind-card-worker-failures"
    good = functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    check("nothing has failed", counted("bind-card-worker", "Failed") == 0 and measured(of_worker, 0) == "OK")
    functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": {**variables, "TABLE_NAME": "nowhere"}}
    )
    bad = functions.publish_version(FunctionName=name)["Version"]
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=bad)
    for card in cards:
        bind(card)
    eventually("it counts what it does not finish", lambda: counted("bind-card-worker", "Retried") >= len(cards))
    failed = counted("bind-card-worker", "Failed")
    check("as failed", failed == counted("bind-card-worker", "Retried") + counted("bind-card-worker", "DeadLettered"))
    check("the alarm stops the deployment", measured(of_worker, failed) == "ALARM")
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=good)
    take_bound(url, set(cards))
    comes_to_rest(of_worker, lambda: 0)


def outcomes_are_counted(url: str, card: int) -> None:
    """Two binds of one card are accepted; one is applied, the other refused."""
    names = ("Applied", "Refused", "AcceptanceToEvent")
    accepted, before = counted("bind-card", "Accepted"), [counted("bind-card-worker", name) for name in names]
    with binds_wait():
        bind(card)
        bind(card)
    take_bound(url, {card})
    eventually("both are counted as accepted", lambda: counted("bind-card", "Accepted") == accepted + 2)
    wanted = [before[0] + 1, before[1] + 1, before[2] + 2]
    eventually(f"as {names}", lambda: [counted("bind-card-worker", name) for name in names] == wanted)
    codes = {line["Code"] for line in metric_lines("bind-card-worker") if "Refused" in line}
    check("with the reason", len(codes) == 1)


@contextmanager
def refusing(words: bytes) -> Iterator[str]:
    """The address of an AWS that refuses to send messages with these words."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 (the base class's name)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_sent = self.headers.get("X-Amz-Target") == "AmazonSQS.SendMessage"
            if is_sent and words in body:
                status, answer = 400, b'{"__type": "InvalidParameterValue", "message": "no"}'
            else:
                passed = requests.post(
                    os.environ["AWS_ENDPOINT_URL"] + self.path, data=body, headers=dict(self.headers)
                )
                status, answer = passed.status_code, passed.content
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Is silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def no_letter_stands_in_the_way_of_others() -> None:
    """One that SQS refuses stays, and is told; one of no tenant has no group."""
    letters, queue = url_of("bind-card-dead-letters"), url_of("bind-card")
    bodies = [json.dumps({"org_id": "of nobody\n\u009b", "operation_id": word}) for word in ("refused", "taken")]
    ids = [sqs.send_message(QueueUrl=letters, MessageBody=body)["MessageId"] for body in bodies]
    with binds_wait():
        with refusing(b"refused") as address:
            done = run("--json", "--yes", "redrive", "bind-card", "--all", AWS_ENDPOINT_URL=address)
        check("what was refused is told", done.returncode == 1 and ids[0] in done.stderr or print(done))
        check("and the rest is sent", [row["message"] for row in json.loads(done.stdout)] == ids[1:])
        check("it is where it was, to be seen at once", depth("bind-card-dead-letters") == 1)
        [sent] = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], WaitTimeSeconds=5)["Messages"]
        check("in no group", sent["Body"] == bodies[1] and "MessageGroupId" not in sent["Attributes"])
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=sent["ReceiptHandle"])
        shown = bindery("dead-letters", "bind-card")
        check("nothing that is shown moves the cursor", "\\u{9b}" in shown and "\u009b" not in shown and "min" in shown)
        missing = run("--yes", "redrive", "bind-card", "--message", ids[0], "no-such-id")
        check("what is not there is told", missing.returncode == 1 and "no-such-id" in missing.stderr)
        check("and what is there is sent", depth("bind-card-dead-letters") == 0 and depth("bind-card") == 1)
        sqs.purge_queue(QueueUrl=queue)


def poisoned_messages_are_told_and_sent_back(url: str, cards: list[int]) -> None:
    """Accepted binds lose their operations' rows (a table was restored, say), and get them back."""
    dead = "bind-card-dead-letters"
    check("no alarm is on", measured(dead, depth(dead)) == "OK")
    buried = counted("bind-card-worker", "DeadLettered")
    with binds_wait():
        operations = [bind(card) for card in cards]
        keys = [{"pk": {"S": f"{TENANT}#OP#{one}"}, "sk": {"S": "OP"}} for one in operations]
        rows = [dynamodb.get_item(TableName=TABLE, Key=key, ConsistentRead=True)["Item"] for key in keys]
        for key in keys:
            dynamodb.delete_item(TableName=TABLE, Key=key)
        check("nothing is handled while workers rest", depth("bind-card") == len(cards) and not take(url))

    eventually("the messages are dead", lambda: depth(dead) == len(cards))
    eventually("and counted", lambda: counted("bind-card-worker", "DeadLettered") == buried + len(cards))
    check("the alarm goes off", measured(dead, depth(dead)) == "ALARM")
    check("its section is named", '"Dead letters"' in alarm(dead)["AlarmDescription"])
    told = {row["operation"]: row for row in json.loads(bindery("--json", "dead-letters", "bind-card"))}
    check("all are told, with their reason", set(told) == set(operations))
    check("the reason says what is wrong", all("has no row" in row["reason"] for row in told.values()) or print(told))
    check("and how old they are", all(row["age"].endswith(" min") for row in told.values()))
    shown = bindery("dead-letters", "bind-card") + json.dumps(told)
    check("nobody's account or customer is told", ACCOUNT not in shown and CUSTOMER not in shown)
    check("looking leaves them there", depth(dead) == len(cards))
    refused = run("redrive", "bind-card", "--all")
    check("nothing is sent back unasked", refused.returncode == 1 and depth(dead) == len(cards))

    for row in rows:
        dynamodb.put_item(TableName=TABLE, Item=row)
    sent = json.loads(bindery("--json", "--yes", "redrive", "bind-card", "--operation", operations[0]))
    check("one operation's messages are sent back", [row["operation"] for row in sent] == operations[:1])
    take_bound(url, {cards[0]})
    check("the other messages are left", depth(dead) == len(cards) - 1)
    # The runbook sends back one operation's, one by its ID, and then all.
    stuck = lose_the_message_of_a_start()
    message = told[operations[2]]["message"]
    the_runbook_runs({"OPERATION": operations[1], "MESSAGE": message, "STUCK": stuck, "TENANT": TENANT})
    eventually("what was stuck has ended", lambda: state_of(stuck) == "SUCCEEDED")
    # It publishes events again, too.
    take_bound(url, set(cards[1:]), among_others=True)
    for operation in operations:
        read = json.loads(bindery("--json", "operation", operation, "--tenant", TENANT))
        check("the operation has ended", read["state"] == "SUCCEEDED" and "fingerprint" not in read)
    check("nothing is left", depth(dead) == 0)
    comes_to_rest(dead, lambda: depth(dead))


def lose_the_message_of_a_start() -> str:
    """The operation."""
    body = {"program_id": 5, "external_ids": ["lost-1", "lost-2"]}
    bulk = call("POST", "/cards/v1/bulks", 201, json=body)["id"]
    queue, worker = url_of("start-bulk"), mapping("start-bulk")["UUID"]
    functions.update_event_source_mapping(UUID=worker, Enabled=False)
    operation = call("POST", f"/cards/v1/bulks/{bulk}/start", 202)["operation_id"]
    sqs.purge_queue(QueueUrl=queue)
    functions.update_event_source_mapping(UUID=worker, Enabled=True)
    check("its operation does not end", state_of(operation) == "PENDING")
    return operation


def state_of(operation: str) -> str:
    """What the operator's tool says of it."""
    return json.loads(bindery("--json", "operation", operation, "--tenant", TENANT))["state"]


def the_runbook_runs(names: dict[str, str]) -> None:
    """Every block of the runbook runs, in order, after the first, which is for all."""
    preparing, *blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "infra" / "RUNBOOK.md").read_text(), re.DOTALL)
    path = f"{BINARIES}:{ROOT / 'target' / 'tests-venv' / 'bin'}:{os.environ['PATH']}"
    now = rfc3339(time.time())
    times = {"FROM": rfc3339(time.time() - 60), "TO": now, "RESTORE_AT": now}
    workers = ("bind-card", "start-bulk", "cancel-bulk", "cancel-orders", "order-feed")
    endpoints = (*workers[:4], "create-bulk", "increment-bulk")

    def states() -> list[str]:
        return [mapping(worker)["State"] for worker in workers]

    def concurrencies() -> list[int | None]:
        told = [functions.get_function_concurrency(FunctionName=f"{STACK}-{endpoint}") for endpoint in endpoints]
        return [one.get("ReservedConcurrentExecutions") for one in told]

    name = f"{STACK}-restored"

    def restored() -> bool:
        live = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"]
        backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
        arn = dynamodb.describe_table(TableName=name)["Table"]["TableArn"]
        tags = {tag["Key"]: tag["Value"] for tag in dynamodb.list_tags_of_resource(ResourceArn=arn)["Tags"]}
        wanted = {"application": "bindery", "stage": STACK.removeprefix("bindery-")}
        return live == recovery == "ENABLED" and tags == wanted

    def deleted() -> bool:
        dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
        return dynamodb.delete_table(TableName=name)["TableDescription"]["TableName"] == name

    outcomes = {
        "--no-enabled": ("the workers rest", lambda: states() == ["Disabled"] * len(workers)),
        "--enabled": ("the workers run", lambda: states() == ["Enabled"] * len(workers)),
        "put-function-concurrency": ("the endpoints are closed", lambda: concurrencies() == [0] * len(endpoints)),
        "delete-function-concurrency": ("the endpoints are open", lambda: concurrencies() == [None] * len(endpoints)),
        "restore-table": ("the table is restored", restored),
        "check --table": ("it fits together, and is not needed any more", deleted),
    }
    for block in blocks:
        command = ["bash", "-euo", "pipefail", "-c", preparing + block]
        done = subprocess.run(
            command, env={**os.environ, **names, **times, "PATH": path}, capture_output=True, text=True
        )
        said = done.returncode == 0 or print(block, done.stdout, done.stderr)
        check(f"runbook: {block.splitlines()[0]}", said)
        for word in [word for word in outcomes if f" {word}" in block]:
            what, holds = outcomes.pop(word)
            check(what, holds())
    check("all of it did something", not outcomes)


def rfc3339(at: float) -> str:
    """The second, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


TOKEN = subprocess.check_output(
    [*shlex.split(os.environ["BINDERY_TOKEN_COMMAND"]), "--tenant", TENANT, "--account", ACCOUNT], text=True
).strip()
mine = subscribe()
cards = issue(mine, 12)
every_alarm_goes_off_and_is_over()
archived_events_are_published_again(mine, cards[11])
a_function_that_fails_is_told()
a_worker_that_fails_is_told(mine, cards[:6])
outcomes_are_counted(mine, cards[6])
no_letter_stands_in_the_way_of_others()
poisoned_messages_are_told_and_sent_back(mine, cards[7:11])
# Lambda's own count is in the alarm's minute for as long.
comes_to_rest("bind-card-worker-errors", lambda: 0)
