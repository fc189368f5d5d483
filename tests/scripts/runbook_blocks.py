"""Runs every block of the runbook, in order, and checks that it does what the page says."""

import os
import re
import subprocess
import time
from collections.abc import Callable

import boto3
from checks import ROOT, check
from deployed_stack import BINARIES, STACK, depth
from parking import DEAD, PARKED, a_release, installed
from runbook_fakes import Fakes
from switches import closed, endpoints, states

RESTORED = f"{STACK}-restored"
HOUR_SECONDS = 3600

dynamodb = boto3.client("dynamodb")


def rfc3339(at: float) -> str:
    """Returns this time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def is_restored() -> bool:
    """Returns whether the restored table has the settings that a restore does not copy."""
    live = dynamodb.describe_time_to_live(TableName=RESTORED)["TimeToLiveDescription"]["TimeToLiveStatus"]
    backups = dynamodb.describe_continuous_backups(TableName=RESTORED)["ContinuousBackupsDescription"]
    recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
    described = dynamodb.describe_table(TableName=RESTORED)["Table"]
    tags = {
        tag["Key"]: tag["Value"] for tag in dynamodb.list_tags_of_resource(ResourceArn=described["TableArn"])["Tags"]
    }
    wanted = {"application": "bindery", "stage": STACK.removeprefix("bindery-")}
    return live == recovery == "ENABLED" and tags == wanted and described["DeletionProtectionEnabled"]


def delete_restored() -> bool:
    """Deletes the restored table, and returns whether that table was deleted."""
    dynamodb.update_table(TableName=RESTORED, DeletionProtectionEnabled=False)
    return dynamodb.delete_table(TableName=RESTORED)["TableDescription"]["TableName"] == RESTORED


def accepting() -> set[str]:
    """Returns the endpoints that accept instructions."""
    return {name for name, row in endpoints().items() if row["accepts_instructions"]}


def are_parked(count: int) -> bool:
    """Returns whether this many of the one strange message are parked, and the others are dead letters."""
    return (depth(PARKED), depth(DEAD)) == (count, 1 - count)


# Conditions that must hold after the block that contains these words. The text is what the block has printed.
OUTCOMES: dict[str, tuple[str, Callable[[str], object]]] = {
    "dead-letters park": ("the message is parked", lambda _: are_parked(1)),
    "dead-letters unpark": ("the message is a dead letter again", lambda _: are_parked(0)),
    "workers stop": ("the workers have stopped", lambda _: set(states().values()) == {"Disabled"}),
    "workers start": ("the workers run", lambda _: set(states().values()) == {"Enabled"}),
    "api close\nbindery api": (
        "exactly the endpoints that accept instructions are closed",
        lambda _: closed() == accepting(),
    ),
    'put-function-concurrency --function-name "$BINDERY_STACK-$endpoint"': (
        "all endpoints are closed",
        lambda _: closed() == set(endpoints()),
    ),
    "api open": ("the endpoints are open", lambda _: not closed()),
    'delete-function-concurrency --function-name "$BINDERY_STACK-$endpoint"': (
        "all endpoints are open",
        lambda _: not closed(),
    ),
    "restore-table": (
        "the table is restored, with all settings, and the block prints so",
        lambda printed: is_restored() and printed.endswith("ENABLED\nTrue\n"),
    ),
    "check --table": ("the restored table is consistent, and is deleted", lambda _: delete_restored()),
    "describe-alarms --alarm-name-prefix": ("the queues are listed", lambda printed: "bind-card " in printed),
}


def run_blocks(names: dict[str, str], fakes: Fakes) -> None:
    """Runs every block with these variables. The first block is prepended to each of the others."""
    preparing, *blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "infra" / "RUNBOOK.md").read_text(), re.DOTALL)
    path = f"{BINARIES}:{ROOT / 'target' / 'tests-venv' / 'bin'}:{os.environ['PATH']}"
    now = rfc3339(time.time())
    times = {"FROM": rfc3339(time.time() - 60), "TO": now, "RESTORE_AT": now}
    # No other test uses this tenant.
    times["SHUT_OUT"] = "TN-5a0e0d5c-6f7b-4f0e-9b1a-00000000dead"
    times["SINCE"] = str(int(time.time()) - HOUR_SECONDS)
    outcomes = {**OUTCOMES, **fakes.outcomes()}
    seen = set()
    with a_release() as release:
        for block in blocks:
            command = ["bash", "-euo", "pipefail", "-c", preparing + block]
            variables = {**os.environ, **names, **times, **release, "PATH": path, **fakes.variables(block)}
            done = subprocess.run(command, env=variables, capture_output=True, text=True)
            check(f"runbook: {block.splitlines()[0]}", done.returncode == 0 or print(block, done.stdout, done.stderr))
            for words in [words for words in outcomes if f" {words}" in block]:
                what, holds = outcomes[words]
                check(what, holds(done.stdout) or print(block, done.stdout, done.stderr))
                seen.add(words)
        check("the release's tool is installed", installed(release).exists())
    check("every expected outcome was checked", seen == set(outcomes))
