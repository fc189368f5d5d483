#!/usr/bin/env python3
"""Checks that the bills of materials from infra/materials are valid, reproducible, and match Cargo.lock.

Checks those of the functions and of the operator's tool. To test the check itself, it must detect corrupt copies.
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
# Packages that must be listed, with their scope, and packages that only tests or other packages use.
SCOPES = {"aws-sdk-dynamodb": "required", "ring": "required", "serde_derive": "excluded", "cc": "excluded"}
NOT_THERE = ("proptest", "tests", "chrono", "openssl-sys")
schema = JsonStrictValidator(SchemaVersion.V1_6)
locked = {
    (one["name"], one["version"]): one.get("checksum")
    for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
}


def written(*packages: str) -> str:
    """Returns the bill that infra/materials writes."""
    subprocess.run([ROOT / "infra/materials", TARGET, FILE, *packages], check=True)
    return FILE.read_text()


def faults(text: str) -> list[str]:
    """Returns the errors in a bill."""
    if (error := schema.validate_str(text)) is not None:
        return [f"it is not valid: {error}"]
    bill: dict[str, Any] = json.loads(text)
    parts = {one["bom-ref"]: one for one in bill["components"]}
    scopes = {one["name"]: one["scope"] for one in bill["components"]}
    needed = {ref for one in bill["dependencies"] for ref in one["dependsOn"]}
    found = [f"{name} is not {scope}" for name, scope in SCOPES.items() if scopes.get(name) != scope]
    found += [f"{name} does not belong in it" for name in NOT_THERE if name in scopes]
    found += [f"{ref} is missing" for ref in needed - parts.keys()]
    found += [f"no component depends on {ref}" for ref in parts.keys() - needed]
    for ref, one in parts.items():
        checksums = [given["content"] for given in one.get("hashes", [])] or [None]
        if checksums != [locked.get((one["name"], one["version"]))]:
            found.append(f"{ref} differs from Cargo.lock")
    return found


def corrupt_copies(text: str) -> list[str]:
    """Returns copies that are invalid, have a wrong hash, or lack a component."""
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
    wrong += ["it differs when written again"] * (written(*packages) != text)
    copies = enumerate(corrupt_copies(text))
    wrong += [f"corrupt copy {number} was not detected" for number, copy in copies if not faults(copy)]
for fault in wrong:
    print(f"infra/materials: {fault}", file=sys.stderr)
sys.exit(bool(wrong))
