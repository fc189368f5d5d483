"""Receives the events of one tenant."""

import json
import os
from typing import Any

import boto3


class TenantEvents:
    """A queue that receives one tenant's events from the stack's bus."""

    def __init__(self, name: str, tenant: str) -> None:
        self.sqs, self.bus = boto3.client("sqs"), boto3.client("events")
        self.rule = {"Rule": f"{name}-{tenant}", "EventBusName": os.environ["EVENT_BUS_NAME"]}
        self.url = self.sqs.create_queue(QueueName=self.rule["Rule"])["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        pattern = json.dumps({"source": ["bindery"], "detail": {"org_id": [tenant]}})
        self.bus.put_rule(Name=self.rule["Rule"], EventBusName=self.rule["EventBusName"], EventPattern=pattern)
        self.bus.put_targets(**self.rule, Targets=[{"Id": "queue", "Arn": arn}])

    def take(self, wait_seconds: int = 0) -> list[dict[str, Any]]:
        """Receives up to ten events, waiting at most this long, and deletes them from the queue."""
        received = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=wait_seconds)
        messages = received.get("Messages", [])
        for message in messages:
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"])["detail"] for message in messages]

    def remove(self) -> None:
        """Deletes the queue and its rule."""
        self.bus.remove_targets(**self.rule, Ids=["queue"])
        self.bus.delete_rule(Name=self.rule["Rule"], EventBusName=self.rule["EventBusName"])
        self.sqs.delete_queue(QueueUrl=self.url)
