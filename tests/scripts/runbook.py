#!/usr/bin/env python3
"""Operates the stack whose variables are set, as the runbook has it: poison, alarms, redrive, replay, restore.

Called by ./tests/run, alone on the stack, and not twice in a quarter of an hour: it pauses workers, breaks one,
publishes events again, and puts values under metrics.

The emulator has no metrics of queues and reads none out of logs. What the metric would be is read off the queue, or
off the line in the log, and put under the alarm's own name: so the deployed alarm is what goes off.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import switches
from checks import check, eventually
from deployed_stack import (
    ACCOUNT,
    CUSTOMER,
    PATIENCE_SECONDS,
    STACK,
    TABLE,
    TENANT,
    bind,
    bindery,
    binds_wait,
    call,
    depth,
    functions,
    issue,
    mappings,
    refusing,
    run,
    sqs,
    state_of,
    take_bound,
    url_of,
)
from runbook_blocks import rfc3339, run_blocks
from tenant_events import TenantEvents

STARTED = time.time()
# How long a value counts that was put under a metric.
COUNTS_SECONDS = 1

dynamodb, logs, cloudwatch = boto3.client("dynamodb"), boto3.client("logs"), boto3.client("cloudwatch")


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


def archived_events_are_published_again(events: TenantEvents, card: int) -> None:
    """A consumer that lost an event gets the same one again."""
    started = time.time()
    bind(card)
    first = eventually("an event comes", lambda: events.take(), PATIENCE_SECONDS)
    bindery("--yes", "replay", "--from", rfc3339(started - 1), "--to", rfc3339(time.time() + 1))
    eventually("the same comes again", lambda: first[0] in events.take(), PATIENCE_SECONDS)


def a_function_that_fails_is_told() -> None:
    """A crash is Lambda's to count; a 5xx the function's own."""
    answer = functions.invoke(FunctionName=f"{STACK}-bind-card-worker:live", Payload=b'{"no": "messages"}')
    check("the function fails", answer.get("FunctionError"))
    # Any metric has the emulator look at its alarms; Lambda's it has counted itself.
    cloudwatch.put_metric_data(Namespace="tests", MetricData=[{"MetricName": "any", "Value": 1}])
    eventually(
        "the alarm on its errors goes off",
        lambda: alarm("bind-card-worker-errors")["StateValue"] == "ALARM",
        PATIENCE_SECONDS,
    )

    check(
        "none of its answers is a 5xx", counted("get-card", "Failed") == 0 and measured("get-card-failures", 0) == "OK"
    )
    key = {"pk": {"S": f"{TENANT}#CARD#900155667788"}, "sk": {"S": "CARD"}}
    dynamodb.put_item(TableName=TABLE, Item={**key, "status": {"S": "SHINY"}})
    for _ in range(4):
        call("GET", "/cards/v1/cards/900155667788", 500)
    eventually("the function counts what it failed", lambda: counted("get-card", "Failed") == 4, PATIENCE_SECONDS)
    check("the alarm stops a deployment", measured("get-card-failures", counted("get-card", "Failed")) == "ALARM")
    comes_to_rest("get-card-failures", lambda: 0)
    found = run("--json", "check")
    [finding, _] = [json.loads(line) for line in found.stdout.splitlines()]
    check("the check finds that row alone", (finding["finding"], finding["pk"]) == ("UNREADABLE_ROW", key["pk"]["S"]))
    check("and ends with 1", found.returncode == 1)
    dynamodb.delete_item(TableName=TABLE, Key=key)


def a_worker_that_fails_is_told(events: TenantEvents, cards: list[int]) -> None:
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
    eventually(
        "it counts what it does not finish",
        lambda: counted("bind-card-worker", "Retried") >= len(cards),
        PATIENCE_SECONDS,
    )
    failed = counted("bind-card-worker", "Failed")
    check("as failed", failed == counted("bind-card-worker", "Retried") + counted("bind-card-worker", "DeadLettered"))
    check("the alarm stops the deployment", measured(of_worker, failed) == "ALARM")
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=good)
    take_bound(events, set(cards))
    comes_to_rest(of_worker, lambda: 0)


def outcomes_are_counted(events: TenantEvents, card: int) -> None:
    """Two binds of one card are accepted; one is applied, the other refused."""
    names = ("Applied", "Refused", "AcceptanceToEvent")
    accepted, before = counted("bind-card", "Accepted"), [counted("bind-card-worker", name) for name in names]
    with binds_wait():
        bind(card)
        bind(card)
    take_bound(events, {card})
    eventually(
        "both are counted as accepted", lambda: counted("bind-card", "Accepted") == accepted + 2, PATIENCE_SECONDS
    )
    wanted = [before[0] + 1, before[1] + 1, before[2] + 2]
    eventually(f"as {names}", lambda: [counted("bind-card-worker", name) for name in names] == wanted)
    codes = {line["Code"] for line in metric_lines("bind-card-worker") if "Refused" in line}
    check("with the reason", len(codes) == 1)


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


def poisoned_messages_are_told_and_sent_back(events: TenantEvents, cards: list[int]) -> None:
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
        check("nothing is handled while workers rest", depth("bind-card") == len(cards) and not events.take())

    eventually("the messages are dead", lambda: depth(dead) == len(cards), PATIENCE_SECONDS)
    eventually(
        "and counted", lambda: counted("bind-card-worker", "DeadLettered") == buried + len(cards), PATIENCE_SECONDS
    )
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
    take_bound(events, {cards[0]})
    check("the other messages are left", depth(dead) == len(cards) - 1)
    # The runbook sends back one operation's, one by its ID, and then all.
    stuck = lose_the_message_of_a_start()
    message = told[operations[2]]["message"]
    run_blocks({"OPERATION": operations[1], "MESSAGE": message, "STUCK": stuck, "TENANT": TENANT})
    eventually("what was stuck has ended", lambda: state_of(stuck) == "SUCCEEDED", PATIENCE_SECONDS)
    # It publishes events again, too.
    take_bound(events, set(cards[1:]), among_others=True)
    for operation in operations:
        read = json.loads(bindery("--json", "operation", operation, "--tenant", TENANT))
        check("the operation has ended", read["state"] == "SUCCEEDED" and "fingerprint" not in read)
    check("nothing is left", depth(dead) == 0)
    comes_to_rest(dead, lambda: depth(dead))


def lose_the_message_of_a_start() -> str:
    """The operation."""
    body = {"program_id": 5, "external_ids": ["lost-1", "lost-2"]}
    bulk = call("POST", "/cards/v1/bulks", 201, json=body)["id"]
    queue, worker = url_of("start-bulk"), mappings()["start-bulk-worker"]["UUID"]
    functions.update_event_source_mapping(UUID=worker, Enabled=False)
    operation = call("POST", f"/cards/v1/bulks/{bulk}/start", 202)["operation_id"]
    sqs.purge_queue(QueueUrl=queue)
    functions.update_event_source_mapping(UUID=worker, Enabled=True)
    check("its operation does not end", state_of(operation) == "PENDING")
    return operation


mine = TenantEvents("operations", TENANT)
cards = issue(mine, 14)
switches.nothing_is_changed_by_mistake()
switches.stopped_workers_take_nothing(mine, cards[12])
switches.closed_endpoints_refuse_instructions(mine, cards[13])
every_alarm_goes_off_and_is_over()
archived_events_are_published_again(mine, cards[11])
a_function_that_fails_is_told()
a_worker_that_fails_is_told(mine, cards[:6])
outcomes_are_counted(mine, cards[6])
no_letter_stands_in_the_way_of_others()
poisoned_messages_are_told_and_sent_back(mine, cards[7:11])
# Lambda's own count is in the alarm's minute for as long.
comes_to_rest("bind-card-worker-errors", lambda: 0)
