"""Breaks the stack's issuer, and checks that its alarms tell this outage from one client with bad tokens.

The emulator writes no access log, and extracts no metrics from logs. This script writes the line of each request in the
template's format, and counts the lines that the deployed filters match.
"""

import fnmatch
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import requests
from alarm_math import TEMPLATE
from alarm_states import computed, is_down, measured, returns_to_ok
from checks import Response, check, serving, token
from deployed_stack import ACCOUNT, CUSTOMER, STACK, TENANT

CARD_PATH, ORDERS_PATH = "/cards/v1/cards/1", "/api/orders/cancellations"
# A gateway's value of a variable that does not exist.
NONE = "-"

gateway, logs, stacks = boto3.client("apigatewayv2"), boto3.client("logs"), boto3.client("cloudformation")


def access_line(status: int, is_of_function: bool, tenant: str) -> dict[str, str]:
    """Returns the access log's line of a request, in the template's format."""
    [api] = [one for one in json.loads(TEMPLATE.read_text())["Resources"].values() if one["Type"].endswith("HttpApi")]
    line = json.loads(api["Properties"]["AccessLogSettings"]["Format"])
    known = {
        "$context.status": str(status),
        "$context.integration.status": str(status) if is_of_function else NONE,
        "$context.authorizer.claims.tenant_id": tenant,
    }
    return {name: known.get(variable, NONE) for name, variable in line.items()}


def responded(method: str, path: str, access_token: str) -> dict[str, str]:
    """Sends a request, and returns its line in the access log."""
    headers = {"Authorization": f"Bearer {access_token}", "x-account-id": ACCOUNT, "x-customer-id": CUSTOMER}
    response = requests.request(method, os.environ["BINDERY_URL"] + path, headers=headers, json={}, timeout=30)
    # The gateway's own body has only a message. The functions' bodies have a code or a type.
    is_of_function = set(response.json()) != {"message"}
    is_read = is_of_function and path == CARD_PATH
    return access_line(response.status_code, is_of_function, TENANT if is_read else NONE)


def matched(lines: list[dict[str, str]]) -> dict[str, int]:
    """Returns how many lines each deployed metric filter matches, by the metric's name without the stack's."""

    def holds(pattern: str, line: dict[str, str]) -> bool:
        def compare(found: re.Match[str]) -> str:
            field, operation, text = found.groups()
            return str(fnmatch.fnmatchcase(line[field], text) == (operation == "="))

        inner = re.sub(r'\$\.(\w+) (!?=) "([^"]*)"', compare, pattern.strip("{} "))
        return eval(inner.replace("&&", "and").replace("||", "or"))

    filters = logs.describe_metric_filters(logGroupName=f"/aws/vendedlogs/apigateway/{STACK}")["metricFilters"]
    names = {one["filterPattern"]: one["metricTransformations"][0]["metricName"] for one in filters}
    return {
        name.removeprefix(f"{STACK}-FrontDoor").lower(): sum(holds(pattern, line) for line in lines)
        for pattern, name in names.items()
    }


def state(name: str, lines: list[dict[str, str]]) -> str:
    """Returns the state of a computed alarm after five minutes with these requests."""
    return computed(name, {metric: [count] for metric, count in matched(lines).items()})


@contextmanager
def broken_key_set() -> Iterator[None]:
    """Makes the gateway's authorizer read its keys from an issuer that does not respond with any."""
    outputs = stacks.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
    [api] = [output["OutputValue"] for output in outputs if output["OutputKey"] == "ApiId"]
    [authorizer] = gateway.get_authorizers(ApiId=api)["Items"]
    known, which = authorizer["JwtConfiguration"], {"ApiId": api, "AuthorizerId": authorizer["AuthorizerId"]}
    with serving(lambda _: Response(503)) as issuer:
        gateway.update_authorizer(**which, JwtConfiguration={**known, "Issuer": issuer})
        try:
            yield
        finally:
            gateway.update_authorizer(**which, JwtConfiguration=known)


def turned_away_callers_raise_alarms() -> None:
    """Checks the alarms on refused tokens and on limits, from OK to ALARM and back."""
    good, expired = token("--tenant", TENANT, "--account", ACCOUNT), token("--tenant", TENANT, "--expires-in", "-60")
    without_scope = token("--tenant", TENANT, "--account", ACCOUNT, "--scope", "operations:read")
    served = [responded("GET", CARD_PATH, good) for _ in range(5)]
    refused = [responded("GET", CARD_PATH, expired) for _ in range(60)]
    by_functions = [responded("POST", ORDERS_PATH, expired), responded("GET", CARD_PATH, without_scope)]
    check("requests are admitted", matched(served) == {"admitted": 5, "refused": 0, "throttled": 0})
    check("the gateway refuses tokens", matched(refused) == {"admitted": 0, "refused": 60, "throttled": 0})
    check("functions refuse tokens, too", [line["status"] for line in by_functions] == ["401", "403"])
    check("of which only the 401 counts", matched(by_functions) == {"admitted": 0, "refused": 1, "throttled": 0})
    check("one client with bad tokens raises no page", state("api-turned-away", served + refused) == "OK")
    check("but, in a loop, a ticket", measured("api-bad-tokens", 5 * matched(refused)["refused"] + 1) == "ALARM")
    returns_to_ok("api-bad-tokens", lambda: matched(served)["refused"])

    with broken_key_set():
        lines = [responded("GET", CARD_PATH, good) for _ in range(20)]
        check("without keys, the gateway refuses everybody", matched(lines)["refused"] == len(lines))
        check("the alarm fires", state("api-turned-away", lines) == "ALARM")
        check("and Bindery is down", is_down())
    check("with keys, it serves", matched([responded("GET", CARD_PATH, good)])["admitted"] == 1)
    returns_to_ok("api-turned-away", lambda: 0)
    check("and Bindery is no longer down", not is_down())

    # The emulator never responds 429.
    limited = [access_line(429, False, NONE)] * 20
    check("limits raise an alarm", state("api-mostly-limited", served + limited) == "ALARM" and is_down())
    returns_to_ok("api-mostly-limited", lambda: 0)
    of_function = [access_line(429, True, TENANT)] * 20
    check("a function's own 429 does not", state("api-mostly-limited", served + of_function) == "OK" and not is_down())
