#!/usr/bin/env python3
"""Prints how many messages a queue holds."""

import sys

import boto3

NAMES = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=sys.argv[1], AttributeNames=NAMES)["Attributes"]
print(sum(int(attributes[name]) for name in NAMES))
