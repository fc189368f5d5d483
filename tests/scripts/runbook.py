#!/usr/bin/env python3
"""Operates the stack whose variables are set as the runbook describes: dead letters, alarms, redrive, replay, restore.

Called by ./tests/run. It must be alone on the stack, because it pauses workers, breaks one, replays events, and sets
metrics. Do not run it twice within a quarter of an hour.

alarm_states.py puts the values of metrics that the emulator lacks.
"""

import base64
import json
import time
from collections import defaultdict
from typing import Any

import boto3
import front_door
import parking
import switches
from alarm_math import every_expression_fires_and_ends
from alarm_states import alarm, cloudwatch, computed, every_alarm_fires_and_returns_to_ok, measured, returns_to_ok
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
from runbook_fakes import fakes
from tenant_events import TenantEvents

STARTED = time.time()

dynamodb, logs = boto3.client("dynamodb"), boto3.client("logs")


def metric_lines(function: str) -> list[dict[str, Any]]:
    """Returns the lines in the embedded metric format that the function has written since the script started.

    Checks that it writes at most one for each set of dimensions in an invocation.
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
        raise SystemExit("FAILED: a metric contains the tenant")
    return lines


def counted(function: str, metric: str) -> int:
    """Returns the sum of the metric's values so far."""
    values = [line[metric] for line in metric_lines(function) if metric in line]
    return sum(len(value) if isinstance(value, list) else value for value in values)


def archived_events_are_replayed(events: TenantEvents, card: int) -> None:
    """Checks that a replay publishes the same event again, for a consumer that lost it."""
    started = time.time()
    bind(card)
    first = eventually("an event arrives", lambda: events.take(), PATIENCE_SECONDS)
    bindery("--yes", "replay", "--from", rfc3339(started - 1), "--to", rfc3339(time.time() + 1))
    eventually("the same event arrives again", lambda: first[0] in events.take(), PATIENCE_SECONDS)


def a_failing_function_raises_alarms() -> None:
    """Checks the alarms on crashes, which Lambda counts, and on 5xx responses, which the function counts."""
    for _ in range(3):
        invoked = functions.invoke(FunctionName=f"{STACK}-bind-card-worker:live", Payload=b'{"no": "messages"}')
        check("the function fails", invoked.get("FunctionError"))
    # Any new metric makes the emulator evaluate its alarms. It counts Lambda's metrics itself.
    cloudwatch.put_metric_data(Namespace="tests", MetricData=[{"MetricName": "any", "Value": 1}])
    eventually(
        "the alarm on its errors fires",
        lambda: alarm("bind-card-worker-errors")["StateValue"] == "ALARM",
        PATIENCE_SECONDS,
    )

    check("no response is a 5xx", counted("get-card", "Failed") == 0 and measured("get-card-failures", 0) == "OK")
    key = {"pk": {"S": f"{TENANT}#CARD#900155667788"}, "sk": {"S": "CARD"}}
    dynamodb.put_item(TableName=TABLE, Item={**key, "status": {"S": "SHINY"}})
    for _ in range(4):
        call("GET", "/cards/v1/cards/900155667788", 500)
    eventually("the function counts its failures", lambda: counted("get-card", "Failed") == 4, PATIENCE_SECONDS)
    check("the alarm stops a deployment", measured("get-card-failures", counted("get-card", "Failed")) == "ALARM")
    returns_to_ok("get-card-failures", lambda: 0)
    found = run("--json", "check")
    [finding, _] = [json.loads(line) for line in found.stdout.splitlines()]
    check(
        "`bindery check` finds only that row", (finding["finding"], finding["pk"]) == ("UNREADABLE_ROW", key["pk"]["S"])
    )
    check("and exits with 1", found.returncode == 1)
    dynamodb.delete_item(TableName=TABLE, Key=key)


def the_canary_raises_an_alarm() -> None:
    """Closes the endpoint that the canary asks, and lets its credentials at the issuer expire. Undoes both."""
    asked, canary = f"{STACK}-get-operation", f"{STACK}-canary"

    def ask(outcome: str) -> None:
        invoked = functions.invoke(FunctionName=f"{canary}:live", Payload=b"{}", LogType="Tail")
        log = base64.b64decode(invoked["LogResult"]).decode()
        check(f"the canary's request: {outcome}", outcome in log or print(log))

    def result() -> int:
        return metric_lines("canary")[-1]["CanarySucceeded"]

    ask("SUCCEEDED")
    check("a success is counted, with its time", result() == 1 and counted("canary", "CanaryTime") > 0)
    returns_to_ok("canary", result)
    functions.put_function_concurrency(FunctionName=asked, ReservedConcurrentExecutions=0)
    # AWS's gateway responds 503.
    ask("the API responded with 429")
    check("the alarm fires", measured("canary", result()) == "ALARM")
    check("its description names the section", alarm("canary")["AlarmDescription"].endswith("#canary"))
    functions.delete_function_concurrency(FunctionName=asked)
    ask("SUCCEEDED")
    returns_to_ok("canary", result)

    outputs = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
    [arn] = [output["OutputValue"] for output in outputs if output["OutputKey"] == "CanarySecretArn"]
    secrets = boto3.client("secretsmanager")
    right = secrets.get_secret_value(SecretId=arn)["SecretString"]
    wrong = json.dumps({**json.loads(right), "client_secret": "expired"})
    secrets.put_secret_value(SecretId=arn, SecretString=wrong)
    # The failure makes the canary forget its token.
    functions.put_function_concurrency(FunctionName=asked, ReservedConcurrentExecutions=0)
    ask("FAILED")
    functions.delete_function_concurrency(FunctionName=asked)
    ask("the token endpoint responded with 401: invalid_client")
    check("the alarm fires", measured("canary", result()) == "ALARM")
    secrets.put_secret_value(SecretId=arn, SecretString=right)
    ask("SUCCEEDED")
    returns_to_ok("canary", result)
    # Six of these invocations are its own.
    runs = logs.filter_log_events(logGroupName=f"/aws/lambda/{canary}", filterPattern="START")["events"]
    check("the schedule invokes the canary too", len(runs) > 6)


def a_failing_worker_raises_an_alarm(events: TenantEvents, cards: list[int]) -> None:
    """Deploys a version that uses another table, checks the alarm, and rolls the version back."""
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
        "the worker counts unfinished messages",
        lambda: counted("bind-card-worker", "Retried") >= len(cards),
        PATIENCE_SECONDS,
    )
    ages = [line["RetriedAge"] for line in metric_lines("bind-card-worker") if "Retried" in line]
    check("with their ages", ages and all(0 <= age < PATIENCE_SECONDS for age in ages))
    failed = counted("bind-card-worker", "Failed")
    check(
        "and counts them as failed",
        failed == counted("bind-card-worker", "Retried") + counted("bind-card-worker", "DeadLettered"),
    )
    check("the alarm stops the deployment", measured(of_worker, failed) == "ALARM")
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=good)
    take_bound(events, set(cards))
    returns_to_ok(of_worker, lambda: 0)


def outcomes_are_counted(events: TenantEvents, card: int) -> None:
    """Checks the metrics of two accepted binds of one card: one is applied, the other refused."""
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
    eventually(f"and then as {names}", lambda: [counted("bind-card-worker", name) for name in names] == wanted)
    codes = {line["Code"] for line in metric_lines("bind-card-worker") if "Refused" in line}
    check("with the code of the refusal", len(codes) == 1)


def a_dead_letter_does_not_block_others() -> None:
    """Checks that a message which SQS refuses stays and is reported.

    A message without a valid tenant is sent without a message group.
    """
    letters, queue = url_of("bind-card-dead-letters"), url_of("bind-card")
    bodies = [json.dumps({"org_id": "no tenant\n\u009b", "operation_id": word}) for word in ("refused", "taken")]
    ids = [sqs.send_message(QueueUrl=letters, MessageBody=body)["MessageId"] for body in bodies]
    with binds_wait():
        with refusing(b"refused") as address:
            done = run("--json", "--yes", "redrive", "bind-card", "--all", AWS_ENDPOINT_URL=address)
        check("a refused message is reported", done.returncode == 1 and ids[0] in done.stderr or print(done))
        check("and the other is sent", [row["message"] for row in json.loads(done.stdout)] == ids[1:])
        check("the refused message is visible in its queue at once", depth("bind-card-dead-letters") == 1)
        [sent] = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], WaitTimeSeconds=5)["Messages"]
        check(
            "the other has no message group", sent["Body"] == bodies[1] and "MessageGroupId" not in sent["Attributes"]
        )
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=sent["ReceiptHandle"])
        shown = bindery("dead-letters", "bind-card")
        check(
            "control characters are escaped in the output",
            "\\u{9b}" in shown and "\u009b" not in shown and "min" in shown,
        )
        missing = run("--yes", "redrive", "bind-card", "--message", ids[0], "no-such-id")
        check("a missing message is reported", missing.returncode == 1 and "no-such-id" in missing.stderr)
        check("and the existing one is sent", depth("bind-card-dead-letters") == 0 and depth("bind-card") == 1)
        sqs.purge_queue(QueueUrl=queue)


def poison_messages_are_reported_and_redriven(events: TenantEvents, cards: list[int]) -> None:
    """Removes the operations' rows of accepted binds, as a restore of the table might, and restores them later."""
    dead, new = "bind-card-dead-letters", "bind-card-new-dead-letters"
    check("the alarm is OK", measured(dead, depth(dead)) == "OK")
    before = counted("bind-card-worker", "DeadLettered")
    with binds_wait():
        operations = [bind(card) for card in cards]
        keys = [{"pk": {"S": f"{TENANT}#OP#{one}"}, "sk": {"S": "OP"}} for one in operations]
        rows = [dynamodb.get_item(TableName=TABLE, Key=key, ConsistentRead=True)["Item"] for key in keys]
        for key in keys:
            dynamodb.delete_item(TableName=TABLE, Key=key)
        check("no message is handled while workers are stopped", depth("bind-card") == len(cards) and not events.take())

    eventually("the messages are dead-lettered", lambda: depth(dead) == len(cards), PATIENCE_SECONDS)
    eventually(
        "and counted", lambda: counted("bind-card-worker", "DeadLettered") == before + len(cards), PATIENCE_SECONDS
    )
    check("the alarm fires", measured(dead, depth(dead)) == "ALARM")
    check("its description names the section", alarm(dead)["AlarmDescription"].endswith("RUNBOOK.md#dead-letters"))
    check("so does the one on new ones", computed(new, {"visible": [0, depth(dead)], "hidden": [0, 0]}) == "ALARM")
    returns_to_ok(new, lambda: 0)
    another = sqs.send_message(QueueUrl=url_of("bind-card"), MessageBody="not an instruction")["MessageId"]
    eventually("another is dead-lettered", lambda: depth(dead) == len(cards) + 1, PATIENCE_SECONDS)
    check("the first alarm says nothing new", measured(dead, depth(dead)) == "ALARM")
    grown = {"visible": [len(cards), depth(dead)], "hidden": [0, 0]}
    check("the one on new ones fires again", computed(new, grown) == "ALARM")
    returns_to_ok(new, lambda: 0)
    delete_dead_letter(another)
    listed = {row["operation"]: row for row in json.loads(bindery("--json", "dead-letters", "bind-card"))}
    check("all dead letters are listed", set(listed) == set(operations))
    check("with the reason", all("has no row" in row["reason"] for row in listed.values()) or print(listed))
    check("and their age", all(row["age"].endswith(" min") for row in listed.values()))
    shown = bindery("dead-letters", "bind-card") + json.dumps(listed)
    check("but without accounts and customers", ACCOUNT not in shown and CUSTOMER not in shown)
    check("listing does not remove them", depth(dead) == len(cards))
    refused = run("redrive", "bind-card", "--all")
    check("redrive requires a confirmation", refused.returncode == 1 and depth(dead) == len(cards))

    for row in rows:
        dynamodb.put_item(TableName=TABLE, Item=row)
    sent = json.loads(bindery("--json", "--yes", "redrive", "bind-card", "--operation", operations[0]))
    check("one operation's messages are redriven", [row["operation"] for row in sent] == operations[:1])
    take_bound(events, {cards[0]})
    check("the other messages remain", depth(dead) == len(cards) - 1)
    # The runbook redrives the messages of one operation, one message by its ID, and then all. It parks a strange one.
    stuck = lose_the_message_of_a_start()
    message = listed[operations[2]]["message"]
    strange = parking.send_a_strange_message()
    names = {"OPERATION": operations[1], "MESSAGE": message, "STRANGE": strange, "STUCK": stuck, "TENANT": TENANT}
    with fakes() as faked:
        run_blocks(names, faked)
    # The runbook moves it back at the end.
    sqs.purge_queue(QueueUrl=url_of(parking.DEAD))
    eventually("the stuck operation has ended", lambda: state_of(stuck) == "SUCCEEDED", PATIENCE_SECONDS)
    # The runbook also replays events.
    take_bound(events, set(cards[1:]), among_others=True)
    for operation in operations:
        read = json.loads(bindery("--json", "operation", operation, "--tenant", TENANT))
        check("the operation has ended", read["state"] == "SUCCEEDED" and "fingerprint" not in read)
    check("no dead letter remains", depth(dead) == 0)
    returns_to_ok(dead, lambda: depth(dead))


def delete_dead_letter(sent: str) -> None:
    """Deletes the dead letter of the message that was sent to the queue of binds with this ID."""
    letters, attribute = url_of("bind-card-dead-letters"), "source_message_id"

    def is_deleted() -> bool:
        found = sqs.receive_message(
            QueueUrl=letters, MaxNumberOfMessages=10, VisibilityTimeout=1, MessageAttributeNames=[attribute]
        )
        for message in found.get("Messages", []):
            if message["MessageAttributes"].get(attribute, {}).get("StringValue") == sent:
                sqs.delete_message(QueueUrl=letters, ReceiptHandle=message["ReceiptHandle"])
                return True
        return False

    eventually("it is deleted", is_deleted)
    time.sleep(1)


def lose_the_message_of_a_start() -> str:
    """Starts a bulk, deletes the message of the start, and returns the operation."""
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
cards = issue(mine, 15)
every_expression_fires_and_ends()
every_alarm_fires_and_returns_to_ok()
front_door.turned_away_callers_raise_alarms()
a_failing_function_raises_alarms()
switches.nothing_is_changed_by_mistake()
switches.stopped_workers_take_nothing(mine, cards[12])
switches.closed_endpoints_refuse_instructions(mine, cards[13])
archived_events_are_replayed(mine, cards[11])
the_canary_raises_an_alarm()
a_failing_worker_raises_an_alarm(mine, cards[:6])
outcomes_are_counted(mine, cards[6])
a_dead_letter_does_not_block_others()
parking.a_parked_message_is_moved_unchanged_and_back()
parking.two_copies_of_a_parked_message_have_one_effect(mine, cards[14])
parking.credentials_of_cloudshell_suffice()
parking.a_replaced_tool_is_not_installed()
poison_messages_are_reported_and_redriven(mine, cards[7:11])
returns_to_ok("bind-card-worker-errors", lambda: 0)
