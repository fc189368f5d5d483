#!/usr/bin/env python3
"""Lints the roles' policies by parliament: unknown actions, resources and conditions that an action does not have.

They are as CloudFormation makes them: the template's tests write them (tests/npm/iam).
"""

import json
import sys
import warnings
from pathlib import Path

# That it uses pkg_resources is known.
warnings.simplefilter("ignore")
import parliament  # noqa: E402

# By role, remark and what it is about: CloudWatch knows no narrower resource for it.
KNOWN = {("DeploymentRole", "RESOURCE_STAR", "['cloudwatch:DescribeAlarms']")}

roles = json.loads(Path(sys.argv[1]).read_text())
found = set()
for role, statements in roles.items():
    policy = parliament.analyze_policy_string(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    found |= {(role, finding.issue, str(finding.detail)) for finding in policy.findings}
for role, issue, detail in sorted(found - KNOWN):
    print(f"{role}: {issue}: {detail}")
for remark in sorted(KNOWN - found):
    print(f"no longer so: {': '.join(remark)}")
if found != KNOWN or not roles:
    sys.exit(1)
print(f"ok: {len(roles)} roles, and what is known of {len(KNOWN)}")
