"""A queue that gets every event of the bus, to look at."""

import json
import time
from typing import Any

from .deploy import client
from .settings import Settings

QUEUE = "bindery-local-all-events"
RULE = "bindery-local-all-events"


def subscribe(settings: Settings, bus: str) -> str:
    """Makes the queue and the rule that fills it, if need be; answers the queue's URL."""
    sqs = client(settings, "sqs")
    url = sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rules = client(settings, "events")
    rules.put_rule(Name=RULE, EventBusName=bus, EventPattern=json.dumps({"source": ["bindery"]}))
    rules.put_targets(Rule=RULE, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def wait_for(settings: Settings, url: str, cid: str, count: int, seconds: float) -> list[dict[str, Any]]:
    """The events of one correlation ID, once there are `count` of them or time is up. Others are left."""
    sqs = client(settings, "sqs")
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=2)
        for message in answer.get("Messages", []):
            event = json.loads(message["Body"])["detail"]
            if event["cid"] == cid:
                found.append(event)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found
