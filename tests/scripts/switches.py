"""Tests the operator's switches on the deployed stack: stops and starts workers, closes and opens endpoints.

Compares the workers and endpoints with the deployed template, so that none that is added later can be forgotten.
"""

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from checks import Request, Response, check, eventually, forward, serving
from deployed_stack import (
    PATIENCE_SECONDS,
    bind,
    bind_path,
    bindery,
    call,
    depth,
    functions,
    issue,
    mappings,
    run,
    send,
    take_bound,
)
from tenant_events import TenantEvents

TEMPLATE = Path(os.environ["BINDERY_LOCAL_DIR"]) / "template.json"
MAPPINGS, CONCURRENCY = "/event-source-mappings/", "/concurrency"
READING = "GET"


def of_template(event_type: str) -> dict[str, list[dict[str, Any]]]:
    """Returns the properties of the template's events of this type, by function."""
    found = {}
    for resource in json.loads(TEMPLATE.read_text())["Resources"].values():
        # Functions with a condition are not deployed here.
        if resource["Type"] == "AWS::Serverless::Function" and "Condition" not in resource:
            name = resource["Metadata"]["BuildProperties"]["Binary"]
            events = [event for event in resource["Properties"].get("Events", {}).values()]
            found[name] = [event["Properties"] for event in events if event["Type"] == event_type]
    return {name: events for name, events in found.items() if events}


def workers(*arguments: str) -> dict[str, dict[str, Any]]:
    """Runs `bindery workers`, and returns its rows by worker."""
    return {row["worker"]: row for row in json.loads(bindery("--json", "--yes", "workers", *arguments))}


def endpoints(*arguments: str) -> dict[str, dict[str, Any]]:
    """Runs `bindery api`, and returns its rows by endpoint."""
    return {row["endpoint"]: row for row in json.loads(bindery("--json", "--yes", "api", *arguments))}


def states() -> dict[str, str]:
    """Returns the states of the workers' event source mappings."""
    return {name: mapping["State"] for name, mapping in mappings().items()}


def closed() -> set[str]:
    """Returns the endpoints whose reserved concurrency is zero."""
    names = {name: f"{os.environ['BINDERY_STACK']}-{name}" for name in of_template("HttpApi")}
    found = {name: functions.get_function_concurrency(FunctionName=full) for name, full in names.items()}
    return {name for name, one in found.items() if one.get("ReservedConcurrentExecutions") == 0}


def denying(path: str, name: str, method: str = "PUT") -> AbstractContextManager[str]:
    """Yields the URL of a proxy to AWS that denies the caller this request only."""

    def respond(request: Request) -> Response:
        if request.method == method and path in request.path and name in request.path:
            body = {"message": "User: arn:aws:iam::1:user/operator is not authorized to perform this"}
            return Response(403, {"x-amzn-ErrorType": "AccessDeniedException"}, json.dumps(body).encode())
        return forward(request, os.environ["AWS_ENDPOINT_URL"])

    return serving(respond)


def taking_its_time() -> tuple[AbstractContextManager[str], list[str]]:
    """Returns a proxy to AWS whose mappings change as slowly as Lambda's do, and the methods of the calls to it.

    The proxy refuses the first change, because another is in progress. After the second, the third read shows the new
    state.
    """
    calls: list[str] = []
    hidden_reads: dict[str, int] = {}

    def respond(request: Request) -> Response:
        if MAPPINGS not in request.path:
            return forward(request, os.environ["AWS_ENDPOINT_URL"])
        calls.append(request.method)
        if request.method == "PUT" and calls.count("PUT") == 1:
            body = b'{"message": "The event source mapping is being updated."}'
            return Response(400, {"x-amzn-ErrorType": "ResourceInUseException"}, body)
        response = forward(request, os.environ["AWS_ENDPOINT_URL"])
        if request.method == "PUT":
            hidden_reads[request.path] = 2
        if hidden_reads.get(request.path, 0):
            hidden_reads[request.path] -= 1
            mapping = json.loads(response.body)
            mapping["State"] = {"Disabled": "Disabling", "Enabled": "Enabling"}[mapping["State"]]
            response.body = json.dumps(mapping).encode()
        return response

    return serving(respond), calls


def nothing_is_changed_by_mistake() -> None:
    """Checks that a wrong name, a missing stack, or a missing confirmation changes nothing."""
    before = states()
    wrong = run("--yes", "workers", "stop", "--except", "bind-card-worker", "--except", "bind-card")
    check("an unknown worker is refused", wrong.returncode == 1 and "no worker bind-card;" in wrong.stderr)
    check("with a list of the workers", all(name in wrong.stderr for name in before))
    for command in (["workers", "stop"], ["api", "close"]):
        unasked = run(*command)
        check(f"{' '.join(command)} asks for confirmation", unasked.returncode == 1 and "--yes" in unasked.stderr)
        nowhere = run("--stack", "bindery-nowhere", "--yes", *command)
        check("a missing stack is named", nowhere.returncode == 1 and "bindery-nowhere" in nowhere.stderr)
    unknown = run("dead-letters", "bind")
    check("an unknown queue is refused", unknown.returncode == 1 and "no queue bind;" in unknown.stderr)
    names = [row["queue"] for row in json.loads(bindery("--json", "queues"))]
    check("with a list of the queues", len(names) > 4 and all(name in unknown.stderr for name in names))
    check("nothing was changed", states() == before and not closed())


def stopped_workers_take_nothing(events: TenantEvents, card: int) -> None:
    """Checks that all workers stop except the excluded ones, and handle waiting messages when they start."""
    names = set(of_template("SQS"))
    check("every worker of the template is listed", set(workers()) == names == set(mappings()))
    check("and receives messages", set(states().values()) == {"Enabled"})
    queues = {row["queue"] for row in json.loads(bindery("--json", "queues"))}
    check("each from a listed queue", {row["queue"] for row in workers().values()} <= queues)

    but_one = workers("stop", "--except", "start-bulk-worker")
    check("all except the excluded worker are stopped", set(but_one) == names - {"start-bulk-worker"})
    rest = {name: "Enabled" if name == "start-bulk-worker" else "Disabled" for name in names}
    check("Lambda shows the same states", states() == rest and all(row["changed"] for row in but_one.values()))
    operation = bind(card)
    issue(events, 1)
    check("the excluded worker works; the others' messages wait", depth("bind-card") == 1 and not events.take())

    all_of_them = workers("stop")
    check("all are stopped", set(states().values()) == {"Disabled"} and set(all_of_them) == names)
    changed = {name for name, row in all_of_them.items() if row["changed"]}
    check("stopping again changes only the running worker", changed == {"start-bulk-worker"})

    one = mappings()["cancel-bulk-worker"]["UUID"]
    with denying(MAPPINGS, one) as address:
        denied = run("--json", "--yes", "workers", "start", AWS_ENDPOINT_URL=address)
    check(
        "a worker that could not be started is named",
        denied.returncode == 1 and "cancel-bulk-worker: " in denied.stderr,
    )
    check("and the required permissions", "AccessDenied" in denied.stderr and "infra/README.md" in denied.stderr)
    check(
        "the other workers start",
        [name for name, state in states().items() if state == "Disabled"] == ["cancel-bulk-worker"],
    )
    take_bound(events, {card})
    check("waiting messages are handled", call("GET", f"/operations/{operation}", 200)["status"] == "SUCCEEDED")

    slow, calls = taking_its_time()
    with slow as address:
        started = run("--json", "--yes", "workers", "start", AWS_ENDPOINT_URL=address)
    check("the tool waits for a slow change", started.returncode == 0 or print(started.stderr))
    rows = json.loads(started.stdout)
    check("until it is visible", {row["state"] for row in rows} == {"Enabled"} and calls.count("PUT") == 2)
    check("after a second attempt", [row["worker"] for row in rows if row["changed"]] == ["cancel-bulk-worker"])
    check("all receive messages", set(states().values()) == {"Enabled"})


def closed_endpoints_refuse_instructions(events: TenantEvents, card: int) -> None:
    """Checks that closed endpoints refuse instructions while the reading endpoints continue to work."""
    routes = of_template("HttpApi")
    accepting = {name for name, found in routes.items() if any(route["Method"] != READING for route in found)}
    listed = endpoints()
    check("every endpoint of the template is listed", set(listed) == set(routes))
    found = {name for name, row in listed.items() if row["accepts_instructions"]}
    check("endpoints that accept instructions are marked", found == accepting and found != set(routes))
    check("all are open", {row["state"] for row in listed.values()} == {"open"} and not closed())

    with denying(CONCURRENCY, "bind-card/") as address:
        denied = run("--yes", "api", "close", AWS_ENDPOINT_URL=address)
    check("an endpoint that could not be closed is named", denied.returncode == 1 and "bind-card: " in denied.stderr)
    check("and the others are closed", closed() == accepting - {"bind-card"})
    rows = endpoints("close")
    check("all are closed", closed() == accepting == set(rows))
    check("closing again changes nothing else", [name for name, row in rows.items() if row["changed"]] == ["bind-card"])
    # If Lambda does not run the function, AWS's gateway responds 503, and the emulator's responds 429.
    refused = [send("PUT", bind_path(card)), send("POST", "/cards/v1/bulks", json={"program_id": 1})]
    statuses = {one.status_code for one in refused}
    check("instructions are refused", statuses <= {429, 503} or print(statuses))
    check("and have no effect", depth("bind-card") == 0 and not events.take())
    check("cards can be read", call("GET", f"/cards/v1/cards/{card}", 200)["card_id"] == card)
    reopened = endpoints("open")
    check("all are open again", not closed() and {row["changed"] for row in reopened.values()} == {True})
    operation = bind(card)
    eventually(
        "instructions are accepted",
        lambda: call("GET", f"/operations/{operation}", 200)["status"] != "PENDING",
        PATIENCE_SECONDS,
    )
    events.take()
