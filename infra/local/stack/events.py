"""The queue that gets every event of the bus, to look at."""

import json
import time
from typing import Any

from .deploy import client
from .settings import Settings


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
