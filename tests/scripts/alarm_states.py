"""Puts values into the metrics of the deployed alarms, and reads the alarms' states.

The emulator has no queue metrics, extracts no metrics from logs, and evaluates no metric math. Scripts read or compute
a value and put it into the alarm's metric. So the deployed alarm is what fires.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import alarm_math
import boto3
from alarm_math import Series
from checks import check, eventually
from deployed_stack import STACK

# How long a value that a script put into a metric counts.
COUNTS_SECONDS = 1
# The emulator counts Lambda's metrics itself. They stay in the window of their alarms for five minutes.
PATIENCE_SECONDS = 360

cloudwatch = boto3.client("cloudwatch")


def alarm(name: str, stack: str = STACK) -> dict[str, Any]:
    """Returns the deployed alarm."""
    return cloudwatch.describe_alarms(AlarmNames=[f"{stack}-{name}"])["MetricAlarms"][0]


def is_down() -> bool:
    """Returns whether the composite alarm says that Bindery is down."""
    [found] = cloudwatch.describe_alarms(AlarmNames=[f"{STACK}-down"], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    return found["StateValue"] == "ALARM"


def window(definition: dict[str, Any]) -> int:
    """Returns how many seconds the alarm looks back."""
    return definition["Period"] * definition["EvaluationPeriods"]


def measured(name: str, value: float, stack: str = STACK) -> str:
    """Puts this value into the alarm's metric, and returns the alarm's state.

    The value is at the far end of the alarm's window, so that it no longer counts when the next is put.
    """
    definition = alarm(name, stack)
    if definition["ComparisonOperator"] == "LessThanThreshold":
        # The value before would still be part of the sum.
        time.sleep(COUNTS_SECONDS)
    at = datetime.fromtimestamp(time.time() - window(definition) + COUNTS_SECONDS, UTC)
    metric = {"MetricName": definition["MetricName"], "Dimensions": definition["Dimensions"]}
    cloudwatch.put_metric_data(
        Namespace=definition["Namespace"], MetricData=[{**metric, "Timestamp": at, "Value": value}]
    )
    return alarm(name, stack)["StateValue"]


def computed(name: str, inputs: dict[str, Series]) -> str:
    """Puts the latest value of the alarm's expression into its metric, and returns the alarm's state."""
    latest = max(len(series) for series in inputs.values()) - 1
    return measured(name, alarm_math.value(alarm_math.alarms()[name], inputs, latest) or 0)


def returns_to_ok(name: str, value: Callable[[], float], stack: str = STACK) -> None:
    """Waits until the alarm's state is OK with this value of its metric."""

    def is_ok() -> bool:
        time.sleep(COUNTS_SECONDS)
        return measured(name, value(), stack) == "OK"

    eventually(f"{name} returns to OK", is_ok, PATIENCE_SECONDS)


def every_alarm_fires_and_returns_to_ok() -> None:
    """Checks alarms of one kind together, because the emulator matches only a metric's name."""
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{STACK}-")
    kinds = defaultdict(list)
    for one in (alarm for page in pages for alarm in page["MetricAlarms"]):
        kinds[(window(one), one["Namespace"], one["MetricName"], one["Threshold"])].append(one)
    # Longest windows first: values put for other alarms would count in them.
    for _, alike in sorted(kinds.items(), key=lambda kind: kind[0][0], reverse=True):
        fires_and_returns_to_ok([one["AlarmName"].removeprefix(f"{STACK}-") for one in alike])


def fires_and_returns_to_ok(names: list[str], stack: str = STACK) -> None:
    """Checks that these alarms, which are alike, are OK at their threshold, fire beyond it, and return to OK."""
    first = alarm(names[0], stack)
    threshold = first["Threshold"]
    # All alarms fire above their threshold, except those on missing successes.
    beyond = -1 if first["ComparisonOperator"] == "LessThanThreshold" else 1

    def states() -> set[str]:
        return {alarm(name, stack)["StateValue"] for name in names}

    returns_to_ok(names[0], lambda: threshold, stack)
    check(f"{len(names)} alarm(s) on {first['MetricName']} do not fire at {threshold:g}", states() == {"OK"})
    measured(names[0], threshold + beyond, stack)
    check("and fire beyond it", states() == {"ALARM"})
    returns_to_ok(names[0], lambda: threshold, stack)
    check("and return to OK", states() == {"OK"})
