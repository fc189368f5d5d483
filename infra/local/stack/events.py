"""The queues that get every event of the bus: the template's, to look at, and the console's own."""

import json
import time
from typing import Any

from .deploy import client
from .settings import STACK_NAME, Settings

# What nobody looked at for so long is not news.
CONSOLE_SECONDS = 60 * 60
# For so long an event that was passed over is not seen again: there may be thousands before the one that is waited for.
PASSED_SECONDS = 30


def wait_for(settings: Settings, url: str, cid: str, count: int, seconds: float) -> list[dict[str, Any]]:
    """The events of one correlation ID, once there are `count` of them or time is up. Others are left."""
    sqs = client(settings, "sqs")
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=PASSED_SECONDS
        )
        for message in answer.get("Messages", []):
            event = json.loads(message["Body"])["detail"]
            if event["cid"] == cid:
                found.append(event)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def subscribe_console(settings: Settings, bus: str) -> str:
    """Has all events go into a queue of the console's own too, so that it takes none from others; answers its URL."""
    sqs, rules = client(settings, "sqs"), client(settings, "events")
    name = f"{STACK_NAME}-console"
    url = sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": str(CONSOLE_SECONDS)})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"source": ["bindery"]}))
    rules.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return url
