"""Every block of the runbook runs, in order, and does what the page says of it."""

import os
import re
import subprocess
import time

import boto3
from checks import ROOT, check
from deployed_stack import BINARIES, STACK
from switches import closed, endpoints, states

RESTORED = f"{STACK}-restored"

dynamodb = boto3.client("dynamodb")


def rfc3339(at: float) -> str:
    """Returns the second, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def is_restored() -> bool:
    """Returns whether the restored table has the settings that no restore brings."""
    live = dynamodb.describe_time_to_live(TableName=RESTORED)["TimeToLiveDescription"]["TimeToLiveStatus"]
    backups = dynamodb.describe_continuous_backups(TableName=RESTORED)["ContinuousBackupsDescription"]
    recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
    arn = dynamodb.describe_table(TableName=RESTORED)["Table"]["TableArn"]
    tags = {tag["Key"]: tag["Value"] for tag in dynamodb.list_tags_of_resource(ResourceArn=arn)["Tags"]}
    wanted = {"application": "bindery", "stage": STACK.removeprefix("bindery-")}
    return live == recovery == "ENABLED" and tags == wanted


def delete_restored() -> bool:
    """Deletes the restored table, and returns whether it was that one."""
    dynamodb.update_table(TableName=RESTORED, DeletionProtectionEnabled=False)
    return dynamodb.delete_table(TableName=RESTORED)["TableDescription"]["TableName"] == RESTORED


def are_closed() -> bool:
    """Returns whether the endpoints that accept instructions are closed, and no other."""
    return closed() == {name for name, row in endpoints().items() if row["accepts_instructions"]} != set()


# What there must be after the block that has these words.
OUTCOMES = {
    "workers stop": ("the workers have stopped", lambda: set(states().values()) == {"Disabled"}),
    "workers start": ("the workers run", lambda: set(states().values()) == {"Enabled"}),
    "api close": ("the endpoints are closed", are_closed),
    "api open": ("the endpoints are open", lambda: not closed()),
    "restore-table": ("the table is restored", is_restored),
    "check --table": ("it fits together, and is not needed any more", delete_restored),
}


def run_blocks(names: dict[str, str]) -> None:
    """Runs every block with these variables, after the first, which is for all."""
    preparing, *blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "infra" / "RUNBOOK.md").read_text(), re.DOTALL)
    path = f"{BINARIES}:{ROOT / 'target' / 'tests-venv' / 'bin'}:{os.environ['PATH']}"
    now = rfc3339(time.time())
    times = {"FROM": rfc3339(time.time() - 60), "TO": now, "RESTORE_AT": now}
    seen = set()
    for block in blocks:
        command = ["bash", "-euo", "pipefail", "-c", preparing + block]
        done = subprocess.run(
            command, env={**os.environ, **names, **times, "PATH": path}, capture_output=True, text=True
        )
        check(f"runbook: {block.splitlines()[0]}", done.returncode == 0 or print(block, done.stdout, done.stderr))
        for words in [words for words in OUTCOMES if f" {words}" in block]:
            what, holds = OUTCOMES[words]
            check(what, holds())
            seen.add(words)
    check("all of it did something", seen == set(OUTCOMES))
