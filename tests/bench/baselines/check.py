#!/usr/bin/env python3
"""Checks that the baselines do exactly what Bindery's functions do.

Runs the processes of all candidates on every case of `check_lists`. Responses, calls (with all parameters, including
the queue's messages and the bus's events), log lines and rows must be those of Bindery's function. Times, random IDs
and the wording of parsers' messages may differ. Then lets every worker apply the message of every endpoint.

Build Bindery's first: cargo build -p bind-card -p bind-card-worker

Usage: python -B check.py [--functions target/debug] [--ministack target/local/venv/bin/ministack] [PART OF A NAME]
"""

import argparse
import difflib
import json
import re
import statistics
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from check_cases import CARD, Case, batch, card, operation, request
from check_fixture import Aws, Candidate, Emulator, Row
from check_lists import endpoint_cases, worker_cases

BASELINES = Path(__file__).parent
ROOT = BASELINES.parent.parent.parent
BENCH = ROOT / "target/bench"
OURS = "bindery"
WARM = 50

NOW = datetime.now(UTC).timestamp()
RECENT = 3600
RETENTION = 90 * 24 * 3600


def main() -> int:
    """Runs the check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--functions", type=Path, default=ROOT / "target/debug")
    parser.add_argument("--ministack", type=Path, default=ROOT / "target/local/venv/bin/ministack")
    parser.add_argument("case", nargs="?", default="")
    arguments = parser.parse_args()
    emulator = Emulator(arguments.ministack)
    candidates = []
    try:
        aws = Aws(emulator)

        def start(role: str, name: str, *command: str | Path) -> Candidate:
            candidates.append(Candidate(name, [str(word) for word in command], aws))
            print(f"{role} {name} started in {candidates[-1].start_time * 1000:.0f} ms")
            return candidates[-1]

        def start_all(role: str, ours: str) -> list[Candidate]:
            return [
                start(role, OURS, arguments.functions / ours),
                start(role, "python", BENCH / "python/bin/python", BASELINES / f"python/{role}.py"),
                start(role, "node", "node", BENCH / f"node/{role}.mjs"),
            ]

        endpoints, workers = start_all("endpoint", "bind-card"), start_all("worker", "bind-card-worker")
        differences = 0
        for role, those, cases in (("endpoints", endpoints, endpoint_cases()), ("workers", workers, worker_cases())):
            cases = [case for case in cases if arguments.case in case.name]
            differences += sum(compare(case, those, aws, emulator) for case in cases)
            print(f"{len(cases)} cases of {role}")
        differences += cross(endpoints, workers, aws, emulator)
        times(endpoints, workers, aws)
        print(f"{differences} differences")
        return 1 if differences else 0
    finally:
        for candidate in candidates:
            candidate.stop()
        emulator.stop()


def run(case: Case, candidate: Candidate, aws: Aws, emulator: Emulator) -> Row:
    """Returns everything that a candidate does in a case."""
    emulator.reset(case.rows)
    candidate.log.read()
    aws.calls.clear()

    def override(operation: str, number: int) -> tuple[int, Row] | None:
        emulator.put(case.between.get((operation, number), []))
        return case.override(operation, number)

    aws.override = override
    responses = [candidate.invoke(event)[0] for event in case.events]
    aws.override = lambda _operation, _number: None
    calls = [{operation: call_of(body)} for operation, body in aws.calls]
    if len(case.events[0].get("Records", [])) > 1:
        # The messages of a batch are handled concurrently.
        calls.sort(key=lambda call: json.dumps(normal(call), sort_keys=True))
    lines = [line_of(line) for line in candidate.take_lines()]
    if len(lines) > 2:
        lines.sort(key=lambda line: json.dumps(normal(line), sort_keys=True))
    rows = emulator.rows()
    return normal({"responses": [response_of(one) for one in responses], "calls": calls, "rows": rows, "lines": lines})


def compare(case: Case, candidates: list[Candidate], aws: Aws, emulator: Emulator) -> int:
    """Prints how the others differ from the first, and returns how many do."""
    differences = 0
    expected = json.dumps(run(case, candidates[0], aws, emulator), indent=1, sort_keys=True, ensure_ascii=False)
    for candidate in candidates[1:]:
        if candidate.name not in case.but:
            actual = json.dumps(run(case, candidate, aws, emulator), indent=1, sort_keys=True, ensure_ascii=False)
            if actual != expected:
                differences += 1
                print(f"--- {case.name}: {candidate.name}")
                print("\n".join(difflib.unified_diff(expected.splitlines(), actual.splitlines(), lineterm="", n=2)))
    return differences


def cross(endpoints: list[Candidate], workers: list[Candidate], aws: Aws, emulator: Emulator) -> int:
    """Lets every worker apply the message of every endpoint, and checks that the rows and events are the same."""
    found = {}
    for endpoint in endpoints:
        for worker in workers:
            emulator.reset([card()])
            aws.calls.clear()
            assert endpoint.invoke(request())[0]["statusCode"] == 202
            body = next(body["MessageBody"] for operation, body in aws.calls if operation == "SendMessage")
            assert worker.invoke(batch(body))[0] == {"batchItemFailures": []}
            events = [call_of(body) for operation, body in aws.calls if operation == "PutEvents"]
            assert len(events) == 1
            # The event's ID depends on the time of acceptance, which differs between runs.
            message, entry = json.loads(body), events[0]["Entries"][0]
            name = f"{message['accepted_at']}\nbind_card\n{CARD}"
            event_id = str(uuid.uuid5(uuid.UUID(message["operation_id"]), name))
            assert event_id in entry["Detail"], entry
            entry["Detail"] = entry["Detail"].replace(event_id, "(its ID)")
            found[endpoint.name, worker.name] = normal({"rows": emulator.rows(), "events": events})
    expected = found[OURS, OURS]
    assert [row["sk"]["S"] for row in expected["rows"]] == ["CARD", "OP"]
    different = [names for names, outcome in found.items() if outcome != expected]
    print(f"{len(found)} pairs of an endpoint and a worker; different: {different}")
    return len(different)


def times(endpoints: list[Candidate], workers: list[Candidate], aws: Aws) -> None:
    """Prints the time of warm invocations with a DynamoDB that always succeeds. Most of it is this process's own."""
    responses = {"PutItem": {}, "UpdateItem": {"Attributes": card()}}
    aws.override = lambda operation, _number: (200, responses[operation]) if operation in responses else None
    for endpoint, worker in zip(endpoints, workers, strict=True):
        asked, applied = [], []
        for _ in range(WARM):
            aws.calls.clear()
            responses["GetItem"] = {"Item": card()}
            asked.append(endpoint.invoke(request(key=None))[1])
            body = next(body["MessageBody"] for name, body in aws.calls if name == "SendMessage")
            message = json.loads(body)
            responses["GetItem"] = {"Item": operation(message["operation_id"], created_at=message["accepted_at"])}
            applied.append(worker.invoke(batch(body))[1])
            assert aws.calls[-1][0] == "PutEvents"
        medians = [statistics.median(times) * 1000 for times in (asked, applied)]
        print(f"{endpoint.name}: warm median {medians[0]:.1f} ms an endpoint's, {medians[1]:.1f} ms a worker's")


def response_of(response: Row) -> Row:
    """Returns the parts of a response that are compared."""
    if "statusCode" not in response:
        return response
    # Left out, these have Lambda's defaults.
    assert not response.get("isBase64Encoded", False) and not response.get("cookies")
    return {**{name: response[name] for name in ("statusCode", "headers")}, "body": json.loads(response["body"])}


def call_of(body: Row) -> Row:
    """Returns a call's parameters. Texts that contain JSON stay unchanged, and are compared byte for byte."""
    reason = body.get("MessageAttributes", {}).get("reason", {})
    if reason:
        reason["StringValue"] = wording(reason["StringValue"])
    body.pop("ClientRequestToken", None)
    return {name: value for name, value in body.items() if value != {}}


def line_of(line: Row) -> Row:
    """Returns the parts of a log line that are compared."""
    for name in ("timestamp", "duration_ms", "cause", "span"):
        line.pop(name, None)
    for name in ("reason", "error"):
        if name in line:
            line[name] = wording(line[name])
    if "_aws" in line:
        line["_aws"].pop("Timestamp")
        # Only Bindery's functions connect before their first event.
        line.pop("Ping", None)
        for directive in line["_aws"]["CloudWatchMetrics"]:
            metrics = [metric for metric in directive["Metrics"] if metric["Name"] != "Ping"]
            directive["Metrics"] = sorted(metrics, key=lambda metric: metric["Name"])
        for name, value in line.items():
            if isinstance(value, list):
                line[name] = len(value)
    return line


def wording(reason: str) -> str:
    """Removes the wording of SDKs and parsers from a reason."""
    reason = reason.replace("cut off", "not JSON")
    reason = re.sub(r" at line \d+ column \d+", "", reason)
    return reason if reason.startswith("unreadable message") else "a reason"


def normal(value: Any) -> Any:
    """Replaces current times and random IDs in the value."""
    if isinstance(value, dict):
        return {name: normal(member) for name, member in value.items()}
    if isinstance(value, list):
        return [normal(member) for member in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b", random_id, value)
    value = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time, value)
    value = re.sub(r"is not valid JSON: [^\"]*?(?= ?\.$|\"|$)", "is not valid JSON", value)
    return re.sub(r"^\d{10}$", seconds, value)


def random_id(found: re.Match) -> str:
    """Replaces an ID that was made at random now. The IDs of the cases are of 2024."""
    milliseconds = int(found[0].replace("-", "")[:12], 16)
    return "(random)" if abs(milliseconds / 1000 - NOW) < RECENT else found[0]


def time(found: re.Match) -> str:
    """Replaces a time close to now."""
    return "(now)" if abs(datetime.fromisoformat(found[0]).timestamp() - NOW) < RECENT else found[0]


def seconds(found: re.Match) -> str:
    """Replaces the current time, or the expiry of what is new, in seconds since 1970."""
    for name, at in (("(now)", NOW), ("(expiry)", NOW + RETENTION)):
        if abs(int(found[0]) - at) < RECENT:
            return name
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
