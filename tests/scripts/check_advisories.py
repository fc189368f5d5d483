#!/usr/bin/env python3
"""Asks for known weaknesses of all that is pinned: crates, Python packages, npm packages. It needs the network.

    ./tests/scripts/check_advisories.py

Says of each whether it was asked, and what was found; what could not be asked counts as a failure. CI cannot (.ci/run):
the databases are no packages. cargo-deny has RustSec's (a Git repository), pip-audit OSV's, npm its registry's.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS, VENV = ROOT / "target/tests-venv", ROOT / "target/advisories-venv"
# In seconds. Where nothing is reached, some wait for ever.
PATIENCE = 300
# Of what a tool says that got no answer, so many lines.
LAST_WORDS = 3
Outcome = tuple[bool, bool, str]


def listed(pattern: str) -> list[Path]:
    """The project's files of this name."""
    names = subprocess.check_output(["git", "ls-files", pattern], cwd=ROOT, text=True).splitlines()
    return [ROOT / name for name in names]


def run(*command: str | Path, where: Path = ROOT) -> tuple[int, str, str]:
    """How a command ends, and what it says; one that takes too long has failed."""
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return 1, "", f"no answer within {PATIENCE} s"
    return done.returncode, done.stdout, done.stderr


def crates(lock: Path) -> Outcome:
    """Whether the database was reached, whether nothing was found, and what cargo-deny says."""
    options = ["--locked", "--config", ROOT / ".config/deny.toml", "--manifest-path", lock.with_name("Cargo.toml")]
    code, summary, said = run(TOOLS / "bin/cargo-deny", *options, "check", "advisories")
    said += summary
    # One of these it says once it has compared, whatever came of it.
    return "advisories ok" in said or "advisories FAILED" in said, code == 0, said


def python(requirements: Path) -> Outcome:
    """The same of pip-audit, which downloads and runs nothing of what it asks about."""
    options = ["--require-hashes", "--disable-pip", "--vulnerability-service", "osv", "--progress-spinner", "off"]
    code, report, said = run(VENV / "bin/pip-audit", *options, "--format", "json", "--requirement", requirements)
    found = [one for one in json.loads(report or "{}").get("dependencies", []) if one.get("vulns")]
    return (
        bool(report),
        code == 0,
        "\n".join(f"{one['name']} {one['version']}: {one['vulns']}" for one in found) or said,
    )


def npm(lock: Path) -> Outcome:
    """The same of npm, which needs nothing but the lock file."""
    code, report, said = run("npm", "audit", "--package-lock-only", "--json", where=lock.parent)
    answer = json.loads(report or "{}")
    found = [f"{name}: {one['severity']}" for name, one in answer.get("vulnerabilities", {}).items()]
    return "vulnerabilities" in answer, code == 0, "\n".join(found) or str(answer.get("message", said))


def main() -> int:
    """All of them, one after the other."""
    venv = ROOT / "infra/local/venv"
    subprocess.run([venv, TOOLS, ROOT / "tests/scripts/requirements.txt"], check=True)
    subprocess.run([venv, VENV, ROOT / ".config/advisories-requirements.txt"], check=True)
    asked = [(crates, path) for path in listed("*Cargo.lock")]
    asked += [(python, path) for path in listed("*requirements.txt")]
    asked += [(npm, path) for path in listed("*package-lock.json")]
    sound = True
    for ask, path in asked:
        was_reached, is_clean, said = ask(path)
        outcome = "nothing known" if is_clean else "KNOWN WEAKNESSES"
        print(f"{path.relative_to(ROOT)}: {outcome if was_reached else 'NOT ASKED: no answer'}", flush=True)
        sound &= was_reached and is_clean
        if not (was_reached and is_clean):
            lines = said.strip().splitlines()
            print("    " + "\n    ".join(lines if was_reached else lines[-LAST_WORDS:]), flush=True)
    return 0 if sound else 1


sys.exit(main())
