"""The worker `bind-card-worker` in Python: the same writes, outcomes, events and dead letters as in functions.

Left out: giving up before Lambda's deadline, optional members of a message that are null instead of missing, two
members of one name, and a limit on PutEvents calls by their bytes (ten of these events stay far below it).
"""

import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import boto3
from binding import apply
from botocore.exceptions import BotoCoreError, ClientError
from common import CONFIG, Conflict, Metrics, Row, is_final, log, sqs, timed, to_json, utc_now
from message import Broken, Unexpected, read

eventbridge = timed(boto3.client("events", config=CONFIG))
# One thread for each message of a batch.
pool = ThreadPoolExecutor(10)

BUS = os.environ["EVENT_BUS_NAME"]
DEAD_LETTERS = os.environ["BIND_CARD_DLQ_URL"]
MAX_RECEIVES = int(os.environ["MAX_RECEIVES"])

# Deliveries that find an impossible state before their message is dead-lettered.
MAX_UNEXPECTED = 3
MAX_ENTRIES = 10
MAX_ROUNDS = 3
ROUND_WAIT = 0.05
MAX_REASON = 512


class Delivery:
    """A message and its state during the invocation. Applies the message."""

    def __init__(self, record: Row) -> None:
        self.id, self.body = record["messageId"], record["body"]
        self.receive_count = int(record["attributes"].get("ApproximateReceiveCount", 1))
        self.started, self.message = time.perf_counter(), {}
        self.outcome, self.events, self.failure, self.is_broken = None, [], None, False
        try:
            self.message = read(self.body)
            self.outcome, self.events = apply(self.message)
        except Conflict:
            self.failure = "the rows are busy"
        except (BotoCoreError, ClientError) as error:
            self.failure, self.is_broken = str(error), isinstance(error, ClientError) and is_final(error)
        except Unexpected as error:
            self.failure, self.is_broken = str(error), self.receive_count >= MAX_UNEXPECTED
        except Broken as error:
            self.failure, self.is_broken = str(error), True
        except Exception as error:
            self.failure, self.is_broken = f"the worker failed: {type(error).__name__}", True


def handler(event: Row, _: Any) -> Row:
    """Applies the messages of a batch independently, and reports those to be retried."""
    metrics = Metrics()
    deliveries = list(pool.map(Delivery, event["Records"]))
    publish(deliveries, metrics)
    failed = [delivery.id for delivery in deliveries if not settle(delivery, metrics)]
    metrics.flush()
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


def publish(deliveries: list[Delivery], metrics: Metrics) -> None:
    """Publishes the events of all messages in few calls, and retries those that were not taken."""
    unpublished = [(delivery, event) for delivery in deliveries for event in delivery.events]
    for number in range(MAX_ROUNDS):
        if not unpublished:
            return
        if number:
            time.sleep(ROUND_WAIT * 2 ** (number - 1) * random.random())
        calls = [unpublished[at : at + MAX_ENTRIES] for at in range(0, len(unpublished), MAX_ENTRIES)]
        refused = []
        for call, reasons in zip(calls, pool.map(put, calls), strict=True):
            for (delivery, event), reason in zip(call, reasons, strict=True):
                if reason:
                    refused.append((delivery, event, reason))
                else:
                    count(delivery, event, metrics)
        unpublished = [(delivery, event) for delivery, event, _ in refused]
    for delivery, _, reason in refused:
        delivery.failure = f"EventBridge PutEvents: {reason}"


def put(call: list[tuple[Delivery, Row]]) -> list[str | None]:
    """Returns why each event is not, or may not be, on the bus. `None` if it is."""
    entries = [
        {"EventBusName": BUS, "Source": "bindery", "DetailType": event["event_type"], "Detail": to_json(event)}
        for _, event in call
    ]
    try:
        output = eventbridge.put_events(Entries=entries)
    except ClientError as error:
        return [error.response["Error"]["Code"]] * len(call)
    except BotoCoreError as error:
        return [str(error)] * len(call)
    if not output["FailedEntryCount"]:
        return [None] * len(call)
    return [None if "EventId" in entry else entry.get("ErrorCode", "no event ID") for entry in output["Entries"]]


def count(delivery: Delivery, event: Row, metrics: Metrics) -> None:
    """Counts an event that is on the bus."""
    if event["event_type"] == "bind_card":
        if "message_code" in event["data"]:
            metrics.refused[event["data"]["message_code"]] += 1
        else:
            metrics.counts["Applied"] += 1
    accepted_at = delivery.message["accepted_at"]
    waited = utc_now() - datetime.fromisoformat(accepted_at)
    metrics.to_event[accepted_at] = max(0, int(waited.total_seconds() * 1000))


def settle(delivery: Delivery, metrics: Metrics) -> bool:
    """Returns whether the message can be deleted: it is handled, or in the dead-letter queue with its reason."""
    message, reason = delivery.message, delivery.failure
    fields = {"message_id": delivery.id, "operation_id": message.get("operation_id"), "tenant": message.get("org_id")}
    fields |= {"kind": message.get("kind"), "cid": message.get("cid"), "receive_count": delivery.receive_count}
    if reason is None:
        log("INFO", "message handled", delivery.started, **fields, outcome=delivery.outcome)
        return True
    if not delivery.is_broken and delivery.receive_count < MAX_RECEIVES:
        log("WARN", "will be retried", delivery.started, **fields, outcome="RETRY", reason=reason)
        metrics.counts.update(["Retried", "Failed"])
        return False
    log("ERROR", "moving to the dead-letter queue", delivery.started, **fields, outcome="DEAD_LETTER", reason=reason)
    metrics.counts["Failed"] += 1
    try:
        dead_letter(delivery, reason)
    except (BotoCoreError, ClientError) as error:
        fields = {"message_id": delivery.id, "error": str(error)}
        log(
            "ERROR",
            "not sent to the dead-letter queue: the next delivery tries again, or SQS moves it",
            delivery.started,
            **fields,
        )
        return False
    metrics.counts["DeadLettered"] += 1
    return True


def dead_letter(delivery: Delivery, reason: str) -> None:
    """Sends the unchanged message to the dead-letter queue, with the reason as an attribute."""
    printable = re.sub(r"[^ -~]", "?", reason)[:MAX_REASON]
    attributes = {"reason": printable, "source_message_id": delivery.id}
    sqs.send_message(
        QueueUrl=DEAD_LETTERS,
        MessageBody=delivery.body,
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )


if __name__ == "__main__":
    from bootstrap import serve

    serve(__file__)
