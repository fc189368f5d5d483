"""The queues that receive every event of the bus: the template's, for users, and the console's own."""

import json
import time
from typing import Any

from .deploy import client
from .settings import STACK_NAME, Settings

# Retention of the console's queue. The console shows only recent events.
CONSOLE_SECONDS = 60 * 60
# Visibility timeout of skipped events. There may be thousands of them before the expected one.
PASSED_SECONDS = 30


def wait_for(settings: Settings, url: str, cid: str, count: int, seconds: float) -> list[dict[str, Any]]:
    """Returns `count` events of one correlation ID, or fewer when the time is up. Leaves other events in the queue."""
    sqs = client(settings, "sqs")
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        received = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=PASSED_SECONDS
        )
        for message in received.get("Messages", []):
            event = json.loads(message["Body"])["detail"]
            if event["cid"] == cid:
                found.append(event)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def subscribe_console(settings: Settings, bus: str) -> str:
    """Creates the console's own queue of all events, so that it takes none from others. Returns the queue's URL."""
    sqs, rules = client(settings, "sqs"), client(settings, "events")
    name = f"{STACK_NAME}-console"
    url = sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": str(CONSOLE_SECONDS)})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": ["bindery"]}))
    rules.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return url
