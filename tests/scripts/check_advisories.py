#!/usr/bin/env python3
"""Looks for known vulnerabilities of all pinned crates, Python packages and npm packages. It needs the network.

    ./tests/scripts/check_advisories.py

Prints for each file whether its database was reached, and what was found. A database that was not reached counts as a
failure. CI (.ci/run) does not run this, because the databases are not packages: cargo-deny uses RustSec's (a Git
repository), pip-audit uses OSV's, and npm that of its registry.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS, VENV = ROOT / "target/tests-venv", ROOT / "target/advisories-venv"
# In seconds. Without a network, some tools never stop waiting.
PATIENCE = 300
# Lines of a tool's output to print if it did not reach its database.
LAST_LINES = 3
# Whether the database was reached, whether nothing was found, and the findings or the tool's output.
Outcome = tuple[bool, bool, str]


def listed(pattern: str) -> list[Path]:
    """Returns the project's files of this name."""
    names = subprocess.check_output(["git", "ls-files", pattern], cwd=ROOT, text=True).splitlines()
    return [ROOT / name for name in names]


def run(*command: str | Path, where: Path = ROOT) -> tuple[int, str, str]:
    """Runs a command, and returns its exit code and output. A command that takes too long has failed."""
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return 1, "", f"no response within {PATIENCE} s"
    return done.returncode, done.stdout, done.stderr


def crates(lock: Path) -> Outcome:
    """Checks a Cargo.lock with cargo-deny."""
    options = ["--locked", "--config", ROOT / ".config/deny.toml", "--manifest-path", lock.with_name("Cargo.toml")]
    code, summary, output = run(TOOLS / "bin/cargo-deny", *options, "check", "advisories")
    output += summary
    # cargo-deny prints one of these only after it has compared with the database.
    return "advisories ok" in output or "advisories FAILED" in output, code == 0, output


def python(requirements: Path) -> Outcome:
    """Checks a requirements.txt with pip-audit, which does not download or run the packages."""
    options = ["--require-hashes", "--disable-pip", "--vulnerability-service", "osv", "--progress-spinner", "off"]
    code, report, output = run(VENV / "bin/pip-audit", *options, "--format", "json", "--requirement", requirements)
    found = [one for one in json.loads(report or "{}").get("dependencies", []) if one.get("vulns")]
    return (
        bool(report),
        code == 0,
        "\n".join(f"{one['name']} {one['version']}: {one['vulns']}" for one in found) or output,
    )


def npm(lock: Path) -> Outcome:
    """Checks a lock file with npm, which needs no other file."""
    code, report, output = run("npm", "audit", "--package-lock-only", "--json", where=lock.parent)
    audit = json.loads(report or "{}")
    found = [f"{name}: {one['severity']}" for name, one in audit.get("vulnerabilities", {}).items()]
    return "vulnerabilities" in audit, code == 0, "\n".join(found) or str(audit.get("message", output))


def main() -> int:
    """Checks all files, one after the other."""
    venv = ROOT / "infra/local/venv"
    subprocess.run([venv, TOOLS, ROOT / "tests/scripts/requirements.txt"], check=True)
    subprocess.run([venv, VENV, ROOT / ".config/advisories-requirements.txt"], check=True)
    asked = [(crates, path) for path in listed("*Cargo.lock")]
    asked += [(python, path) for path in listed("*requirements.txt")]
    asked += [(npm, path) for path in listed("*package-lock.json")]
    sound = True
    for ask, path in asked:
        was_reached, is_clean, output = ask(path)
        outcome = "no known vulnerabilities" if is_clean else "KNOWN VULNERABILITIES"
        print(f"{path.relative_to(ROOT)}: {outcome if was_reached else 'NOT CHECKED: no response'}", flush=True)
        sound &= was_reached and is_clean
        if not (was_reached and is_clean):
            lines = output.strip().splitlines()
            print("    " + "\n    ".join(lines if was_reached else lines[-LAST_LINES:]), flush=True)
    return 0 if sound else 1


sys.exit(main())
