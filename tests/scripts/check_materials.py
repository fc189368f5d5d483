#!/usr/bin/env python3
"""Checks the bills of materials that infra/materials writes: valid, the same each time, true to Cargo.lock.

For the functions and for the operator's tool. A copy that is spoilt must be noticed.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "target" / "materials.cdx.json"
TARGET = "aarch64-unknown-linux-gnu"
# What must be in it, how; and what tests and other packages alone have.
SCOPES = {"aws-sdk-dynamodb": "required", "ring": "required", "serde_derive": "excluded", "cc": "excluded"}
NOT_THERE = ("proptest", "tests", "chrono", "openssl-sys")
schema = JsonStrictValidator(SchemaVersion.V1_6)
locked = {
    (one["name"], one["version"]): one.get("checksum")
    for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
}


def written(*packages: str) -> str:
    """What infra/materials writes."""
    subprocess.run([ROOT / "infra/materials", TARGET, FILE, *packages], check=True)
    return FILE.read_text()


def faults(text: str) -> list[str]:
    """What is wrong with a bill."""
    if (error := schema.validate_str(text)) is not None:
        return [f"it is not valid: {error}"]
    bill: dict[str, Any] = json.loads(text)
    parts = {one["bom-ref"]: one for one in bill["components"]}
    scopes = {one["name"]: one["scope"] for one in bill["components"]}
    needed = {ref for one in bill["dependencies"] for ref in one["dependsOn"]}
    found = [f"{name} is not {scope}" for name, scope in SCOPES.items() if scopes.get(name) != scope]
    found += [f"{name} is not part of it" for name in NOT_THERE if name in scopes]
    found += [f"{ref} is not told of" for ref in needed - parts.keys()]
    found += [f"nothing needs {ref}" for ref in parts.keys() - needed]
    for ref, one in parts.items():
        checksums = [given["content"] for given in one.get("hashes", [])] or [None]
        if checksums != [locked.get((one["name"], one["version"]))]:
            found.append(f"{ref} is not as Cargo.lock has it")
    return found


def spoilt(text: str) -> list[str]:
    """Copies that are invalid, incomplete, or of something else."""
    bill = json.loads(text)
    without = bill | {"components": bill["components"][1:]}
    return [
        text.replace('"SHA-256"', '"SHA-2"', 1),
        text.replace('"content": "', '"content": "0', 1),
        json.dumps(without),
    ]


wrong = []
for packages in ((), ("bindery",)):
    text = written(*packages)
    wrong += faults(text)
    wrong += ["it is another the second time"] * (written(*packages) != text)
    wrong += [f"spoilt copy {number} was not noticed" for number, copy in enumerate(spoilt(text)) if not faults(copy)]
for fault in wrong:
    print(f"infra/materials: {fault}", file=sys.stderr)
sys.exit(bool(wrong))
