"""Runs every block of the runbook, in order, and checks that it does what the page says."""

import os
import re
import subprocess
import time

import boto3
from checks import ROOT, check
from deployed_stack import BINARIES, STACK, depth
from parking import DEAD, PARKED, a_release, installed
from switches import closed, endpoints, states

RESTORED = f"{STACK}-restored"

dynamodb = boto3.client("dynamodb")


def rfc3339(at: float) -> str:
    """Returns this time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def is_restored() -> bool:
    """Returns whether the restored table has the settings that a restore does not copy."""
    live = dynamodb.describe_time_to_live(TableName=RESTORED)["TimeToLiveDescription"]["TimeToLiveStatus"]
    backups = dynamodb.describe_continuous_backups(TableName=RESTORED)["ContinuousBackupsDescription"]
    recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
    arn = dynamodb.describe_table(TableName=RESTORED)["Table"]["TableArn"]
    tags = {tag["Key"]: tag["Value"] for tag in dynamodb.list_tags_of_resource(ResourceArn=arn)["Tags"]}
    wanted = {"application": "bindery", "stage": STACK.removeprefix("bindery-")}
    return live == recovery == "ENABLED" and tags == wanted


def delete_restored() -> bool:
    """Deletes the restored table, and returns whether that table was deleted."""
    dynamodb.update_table(TableName=RESTORED, DeletionProtectionEnabled=False)
    return dynamodb.delete_table(TableName=RESTORED)["TableDescription"]["TableName"] == RESTORED


def are_closed() -> bool:
    """Returns whether exactly those endpoints are closed that accept instructions."""
    return closed() == {name for name, row in endpoints().items() if row["accepts_instructions"]} != set()


def are_parked(count: int) -> bool:
    """Returns whether this many of the one strange message are parked, and the others are dead letters."""
    return (depth(PARKED), depth(DEAD)) == (count, 1 - count)


# Conditions that must hold after the block that contains these words.
OUTCOMES = {
    "dead-letters park": ("the message is parked", lambda: are_parked(1)),
    "dead-letters unpark": ("the message is a dead letter again", lambda: are_parked(0)),
    "workers stop": ("the workers have stopped", lambda: set(states().values()) == {"Disabled"}),
    "workers start": ("the workers run", lambda: set(states().values()) == {"Enabled"}),
    "api close": ("the endpoints are closed", are_closed),
    "api open": ("the endpoints are open", lambda: not closed()),
    "restore-table": ("the table is restored", is_restored),
    "check --table": ("the restored table is consistent, and is deleted", delete_restored),
}


def run_blocks(names: dict[str, str]) -> None:
    """Runs every block with these variables. The first block is prepended to each of the others."""
    preparing, *blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "infra" / "RUNBOOK.md").read_text(), re.DOTALL)
    path = f"{BINARIES}:{ROOT / 'target' / 'tests-venv' / 'bin'}:{os.environ['PATH']}"
    now = rfc3339(time.time())
    times = {"FROM": rfc3339(time.time() - 60), "TO": now, "RESTORE_AT": now}
    # No other test uses this tenant.
    times["SHUT_OUT"] = "TN-5a0e0d5c-6f7b-4f0e-9b1a-00000000dead"
    seen = set()
    with a_release() as release:
        variables = {**os.environ, **names, **times, **release, "PATH": path}
        for block in blocks:
            command = ["bash", "-euo", "pipefail", "-c", preparing + block]
            done = subprocess.run(command, env=variables, capture_output=True, text=True)
            check(f"runbook: {block.splitlines()[0]}", done.returncode == 0 or print(block, done.stdout, done.stderr))
            for words in [words for words in OUTCOMES if f" {words}" in block]:
                what, holds = OUTCOMES[words]
                check(what, holds())
                seen.add(words)
        check("the release's tool is installed", installed(release).exists())
    check("every expected outcome was checked", seen == set(OUTCOMES))
