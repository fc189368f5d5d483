#!/usr/bin/env python3
"""Lints the policies of roles and operators with parliament.

Finds unknown actions, and resources and conditions that an action does not support. The policies are those that
CloudFormation creates, as written by the template's tests (tests/npm/iam) to the files that are the arguments.
"""

import json
import sys
import warnings
from pathlib import Path

# parliament uses pkg_resources, which is deprecated.
warnings.simplefilter("ignore")
import parliament  # noqa: E402

# Accepted findings: role or policy, issue and detail. CloudWatch supports no narrower resource for a list of alarms.
# AWS Backup chooses the IDs of recovery points, and the role limits where they may be copied to.
KNOWN = {
    ("BackupRole", "RESOURCE_STAR", "['backup:CopyFromBackupVault']"),
    ("DeploymentRole", "RESOURCE_STAR", "['cloudwatch:DescribeAlarms']"),
    ("LookPolicy", "RESOURCE_STAR", "['cloudwatch:DescribeAlarms']"),
}

# In characters without white space: of a managed policy, and of all inline policies of a role
# (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
MAX_MANAGED, MAX_INLINE = 6144, 10240
# The stack's name in the policies, and its maximum length: with "-events", it is an archive's name, which may have 48
# characters (https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CreateArchive.html).
STACK, LONGEST_STACK = "bindery-test", 41

# It does not know the types of keys with several values.
translate = parliament.statement.translate_documentation_types
parliament.statement.translate_documentation_types = lambda kind: translate(kind.removeprefix("ArrayOf"))

roles = {}
for file in sys.argv[1:]:
    roles |= json.loads(Path(file).read_text())
found = set()
for role, statements in roles.items():
    text = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    size = len(text.replace(STACK, "x" * LONGEST_STACK))
    most = MAX_MANAGED if role.endswith("Policy") else MAX_INLINE
    if size > most:
        print(f"{role}: {size} characters, {most} are the limit")
        sys.exit(1)
    policy = parliament.analyze_policy_string(text)
    found |= {(role, finding.issue, str(finding.detail)) for finding in policy.findings}
for role, issue, detail in sorted(found - KNOWN):
    print(f"{role}: {issue}: {detail}")
for remark in sorted(KNOWN - found):
    print(f"no longer found: {': '.join(remark)}")
if found != KNOWN or not roles:
    sys.exit(1)
print(f"ok: {len(roles)} roles and policies, {len(KNOWN)} accepted findings")
