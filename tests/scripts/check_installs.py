#!/usr/bin/env python3
"""Holds all that is installed to hashes: requirements' files, lock files, and every command that installs.

A package that was exchanged after it was pinned then does not match, and nothing runs while it is installed: no source
distribution's setup, no install script. What is wrong is said with its place; and each time, everything is spoiled in
copies, one hash or flag after the other, to see that this is noticed. Last, infra/local/venv is offered an exchanged
wheel, and a source distribution.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = re.compile(r"([a-z0-9-]+)==[\w.]+( ; [\w.'<>=! ]+)?( --hash=sha256:[0-9a-f]{64})+")
# Commands that install, as a shell, a page, a workflow or a list in Python has them, and what each must have.
COMMANDS = (
    (re.compile(r"""\bpip3?["']?,? +["']?(install|download|wheel)\b"""), ("--require-hashes", "--only-binary :all:")),
    (re.compile(r"""\bnpm["']?,? +["']?(ci|install|i|add|update|exec)\b"""), ("--ignore-scripts",)),
    (re.compile(r"""\bcargo["']?,? +["']?install\b"""), ("--locked",)),
    # They take what is newest.
    (re.compile(r"\b(npx|pipx|uvx|easy_install|yarn|pnpm) \w"), ("(another command)",)),
)
# Where a command ends.
END = re.compile(r"&&|\|\||[;|)`\n]")
Fault = tuple[str, str]


def joined(text: str) -> str:
    """The text without line breaks that a shell, or pip, does not see either."""
    return re.sub(r" *\\\n\s*", " ", text)


def of_requirements(direct: str, text: str) -> Iterator[Fault]:
    """Requirements without a version or a hash, or with anything else; and direct ones that are not there."""
    names = set()
    for line in joined(text).splitlines():
        if line.startswith("#"):
            continue
        if match := REQUIREMENT.fullmatch(line):
            names.add(match[1])
        else:
            yield line[:60], "is not pinned with hashes (./infra/local/pins writes it)"
    for line in direct.splitlines():
        if (wanted := re.match(r"[\w.-]+", line)) and re.sub(r"[-_.]+", "-", wanted[0]).lower() not in names:
            yield wanted[0], "is not in the file that ./infra/local/pins writes"


def of_npm(text: str) -> Iterator[Fault]:
    """Packages of a lock file without a hash."""
    for name, package in json.loads(text)["packages"].items():
        if name and not str(package.get("integrity", "")).startswith("sha512-"):
            yield name, "has no integrity"


def of_cargo(text: str) -> Iterator[Fault]:
    """Crates of a lock file without a checksum, but for our own."""
    for package in tomllib.loads(text)["package"]:
        if "source" in package and not re.fullmatch(r"[0-9a-f]{64}", package.get("checksum", "")):
            yield package["name"], "has no checksum"


def commands(text: str) -> Iterator[tuple[int, int, str]]:
    """Where a command that installs begins and ends in a joined text, and a flag that it must have, for each."""
    for command, flags in COMMANDS:
        for match in command.finditer(text):
            end = END.search(text, match.end())
            yield from ((match.start(), end.start() if end else len(text), flag) for flag in flags)


def of_commands(text: str) -> Iterator[Fault]:
    """Commands that install without what they must have."""
    text = joined(text)
    for start, end, flag in commands(text):
        # Quotes and commas are Python's.
        words = re.sub(r"""["',\] ]+""", " ", text[start:end])
        if f" {flag} " not in f"{words} ":
            yield text[start:end], f"lacks {flag}"


def tracked(*patterns: str) -> list[Path]:
    """The files of the project, those that are new included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def without(secured_by: str, text: str) -> Iterator[str]:
    """The text without one of what it has: a dozen of them, from the first to the last."""
    found = list(re.finditer(secured_by, text))
    for match in found[:: len(found) // 12 + 1] + found[-1:]:
        yield text[: match.start()] + text[match.end() :]


def without_flags(text: str) -> Iterator[str]:
    """The text without one flag, for each."""
    text = joined(text)
    for start, end, flag in commands(text):
        yield text[:start] + text[start:end].replace(flag, "") + text[end:]


def look(path: Path, check: Callable[[str], Iterator[Fault]], spoil: Callable[[str], Iterator[str]]) -> Iterator[Fault]:
    """What is wrong with a file, and what would not be noticed."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    yield from check(text)
    for number, spoilt in enumerate(spoil(text)):
        if not any(check(spoilt)):
            yield f"spoilt copy {number}", "was not noticed: mend tests/scripts/check_installs.py"


def wheel(directory: Path, code: str) -> Path:
    """A package of one module."""
    file = directory / "harmless-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("harmless.py", code)
        archive.writestr("harmless-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1\n")
        archive.writestr("harmless-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("harmless-1.dist-info/RECORD", "")
    return file


def sources(directory: Path, code: str) -> Path:
    """The same package, not built; the code is run to build it."""
    (directory / "harmless-1").mkdir()
    (directory / "harmless-1/setup.py").write_text(code)
    file = directory / "harmless-1.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        archive.add(directory / "harmless-1", "harmless-1")
    return file


def is_taken(offered: Path, pinned: str) -> bool:
    """Whether infra/local/venv installs what is offered where this is wanted."""
    (offered.parent / "requirements.txt").write_text(pinned)
    # Of the last, pip makes the opposite: what builds is not isolated, and so need not be fetched.
    offers = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(offered.parent), "PIP_NO_BUILD_ISOLATION": "0"}
    command = [ROOT / "infra/local/venv", offered.parent / "venv", offered.parent / "requirements.txt"]
    return subprocess.run(command, env={**os.environ, **offers}, capture_output=True).returncode == 0


def attacked() -> Iterator[Fault]:
    """What infra/local/venv takes although it could be anything, or has code of its own to run."""
    with tempfile.TemporaryDirectory() as place:
        good, exchanged, unbuilt = (Path(place) / name for name in ("good", "exchanged", "unbuilt"))
        for directory in (good, exchanged, unbuilt):
            directory.mkdir()
        ran = unbuilt / "ran"
        setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='harmless', version='1')"
        good, exchanged, unbuilt = wheel(good, ""), wheel(exchanged, "harm = 1"), sources(unbuilt, setup)
        hashes = {
            file: f"harmless==1 --hash=sha256:{sha256(file.read_bytes()).hexdigest()}\n" for file in (good, unbuilt)
        }
        if is_taken(exchanged, hashes[good]):
            yield "an exchanged wheel", "is taken"
        if is_taken(exchanged, "harmless==1\n"):
            yield "whatever has this version", "is taken"
        if is_taken(unbuilt, hashes[unbuilt]) or ran.exists():
            yield "a source distribution", "is taken, or runs"
        if not is_taken(good, hashes[good]):
            yield "what was pinned", "is not taken"


def main() -> int:
    """Looks at every file."""
    requirements, npm, cargo = (tracked(name) for name in ("*requirements*.txt", "*package-lock.json", "*Cargo.lock"))
    wrong = (
        []
        if requirements and npm and cargo
        else [(ROOT / "tests/scripts/check_installs.py", ("a kind of file", "was not found"))]
    )
    for path in requirements:
        check = partial(of_requirements, path.with_suffix(".in").read_text())
        # All hashes of one package, or its version.
        wrong += [(path, fault) for fault in look(path, check, partial(without, r"( \\\n    --hash=\S+)+|==[\w.]+"))]
    for path in npm:
        wrong += [(path, fault) for fault in look(path, of_npm, partial(without, r'(?<="integrity": ")[^"]*'))]
    for path in cargo:
        wrong += [(path, fault) for fault in look(path, of_cargo, partial(without, 'checksum = ".*"'))]
    for path in {*tracked()} - {*requirements, *npm, *cargo, Path(__file__).resolve()}:
        wrong += [(path, fault) for fault in look(path, of_commands, without_flags)]
    wrong += [(ROOT / "infra/local/venv", fault) for fault in attacked()]
    for path, (what, why) in wrong:
        print(f"{path.relative_to(ROOT)}: {what} {why}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
