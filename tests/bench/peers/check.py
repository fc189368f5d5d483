#!/usr/bin/env python3
"""Shows that the peers do what Bindery's functions do, no less and no more.

Runs the processes of all, and has each of them do every case of `check_lists`. What the others then have answered,
called (to the last parameter, the queue's messages and the bus's events among them), written and logged must be what
the function of Bindery's has; but for times, IDs made at random, and the wording of what a parser says. Then lets every
worker apply the message of every endpoint.

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
from check_lists import endpoint_cases, worker_cases
from check_site import Aws, Emulator, Row, Subject

PEERS = Path(__file__).parent
ROOT = PEERS.parent.parent.parent
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
    subjects = []
    try:
        aws = Aws(emulator)

        def start(role: str, name: str, *command: str | Path) -> Subject:
            subjects.append(Subject(name, [str(word) for word in command], aws))
            print(f"{role} {name} started in {subjects[-1].start_time * 1000:.0f} ms")
            return subjects[-1]

        def start_all(role: str, ours: str) -> list[Subject]:
            return [
                start(role, OURS, arguments.functions / ours),
                start(role, "python", BENCH / "python/bin/python", PEERS / f"python/{role}.py"),
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
        for subject in subjects:
            subject.stop()
        emulator.stop()


def run(case: Case, subject: Subject, aws: Aws, emulator: Emulator) -> Row:
    """All that a subject does in a case."""
    emulator.reset(case.rows)
    subject.log.read()
    aws.calls.clear()

    def meddle(operation: str, number: int) -> tuple[int, Row] | None:
        emulator.put(case.between.get((operation, number), []))
        return case.meddle(operation, number)

    aws.meddle = meddle
    answers = [subject.invoke(event)[0] for event in case.events]
    aws.meddle = lambda _operation, _number: None
    calls = [{operation: call_of(body)} for operation, body in aws.calls]
    if len(case.events[0].get("Records", [])) > 1:
        # The messages of a batch are handled at the same time.
        calls.sort(key=lambda call: json.dumps(normal(call), sort_keys=True))
    lines = [line_of(line) for line in subject.take_lines()]
    if len(lines) > 2:
        lines.sort(key=lambda line: json.dumps(normal(line), sort_keys=True))
    rows = emulator.rows()
    return normal({"answers": [answer_of(one) for one in answers], "calls": calls, "rows": rows, "lines": lines})


def compare(case: Case, subjects: list[Subject], aws: Aws, emulator: Emulator) -> int:
    """Prints how the others differ from the first; answers how many do."""
    differences = 0
    expected = json.dumps(run(case, subjects[0], aws, emulator), indent=1, sort_keys=True, ensure_ascii=False)
    for subject in subjects[1:]:
        if subject.name not in case.but:
            actual = json.dumps(run(case, subject, aws, emulator), indent=1, sort_keys=True, ensure_ascii=False)
            if actual != expected:
                differences += 1
                print(f"--- {case.name}: {subject.name}")
                print("\n".join(difflib.unified_diff(expected.splitlines(), actual.splitlines(), lineterm="", n=2)))
    return differences


def cross(endpoints: list[Subject], workers: list[Subject], aws: Aws, emulator: Emulator) -> int:
    """Lets every worker apply the message of every endpoint: the rows and events must be the same."""
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
            # It is another one every time, for it comes of when the operation was accepted.
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


def times(endpoints: list[Subject], workers: list[Subject], aws: Aws) -> None:
    """Prints how long warm invocations take here, with a DynamoDB that says yes; most of it is this process's own."""
    answers = {"PutItem": {}, "UpdateItem": {"Attributes": card()}}
    aws.meddle = lambda operation, _number: (200, answers[operation]) if operation in answers else None
    for endpoint, worker in zip(endpoints, workers, strict=True):
        asked, applied = [], []
        for _ in range(WARM):
            aws.calls.clear()
            answers["GetItem"] = {"Item": card()}
            asked.append(endpoint.invoke(request(key=None))[1])
            body = next(body["MessageBody"] for name, body in aws.calls if name == "SendMessage")
            message = json.loads(body)
            answers["GetItem"] = {"Item": operation(message["operation_id"], created_at=message["accepted_at"])}
            applied.append(worker.invoke(batch(body))[1])
            assert aws.calls[-1][0] == "PutEvents"
        medians = [statistics.median(times) * 1000 for times in (asked, applied)]
        print(f"{endpoint.name}: warm median {medians[0]:.1f} ms an endpoint's, {medians[1]:.1f} ms a worker's")


def answer_of(answer: Row) -> Row:
    """What counts of an invocation's answer."""
    if "statusCode" not in answer:
        return answer
    # Lambda's default for what is left out.
    assert not answer.get("isBase64Encoded", False) and not answer.get("cookies")
    return {**{name: answer[name] for name in ("statusCode", "headers")}, "body": json.loads(answer["body"])}


def call_of(body: Row) -> Row:
    """A call's parameters; texts that hold JSON stay texts, to the byte."""
    reason = body.get("MessageAttributes", {}).get("reason", {})
    if reason:
        reason["StringValue"] = wording(reason["StringValue"])
    body.pop("ClientRequestToken", None)
    return {name: value for name, value in body.items() if value != {}}


def line_of(line: Row) -> Row:
    """What counts of a log line."""
    for name in ("timestamp", "duration_ms", "cause", "span"):
        line.pop(name, None)
    for name in ("reason", "error"):
        if name in line:
            line[name] = wording(line[name])
    if "_aws" in line:
        line["_aws"].pop("Timestamp")
        directive = line["_aws"]["CloudWatchMetrics"][0]
        directive["Metrics"].sort(key=lambda metric: metric["Name"])
        if "AcceptanceToEvent" in line:
            line["AcceptanceToEvent"] = len(line["AcceptanceToEvent"])
    return line


def wording(reason: str) -> str:
    """A reason, without what each SDK and parser says in its own words."""
    reason = reason.replace("cut off", "not JSON")
    reason = re.sub(r" at line \d+ column \d+", "", reason)
    return reason if reason.startswith("unreadable message") else "a reason"


def normal(value: Any) -> Any:
    """The value without times of now and random IDs."""
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
    """A random ID's place; those of the cases are of 2024."""
    milliseconds = int(found[0].replace("-", "")[:12], 16)
    return "(random)" if abs(milliseconds / 1000 - NOW) < RECENT else found[0]


def time(found: re.Match) -> str:
    """A time's place, if it is now."""
    return "(now)" if abs(datetime.fromisoformat(found[0]).timestamp() - NOW) < RECENT else found[0]


def seconds(found: re.Match) -> str:
    """The same in seconds after 1970, and when what is of now expires."""
    for name, at in (("(now)", NOW), ("(expiry)", NOW + RETENTION)):
        if abs(int(found[0]) - at) < RECENT:
            return name
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
