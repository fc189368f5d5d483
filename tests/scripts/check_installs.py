#!/usr/bin/env python3
"""Checks that everything installed is pinned by hash: requirements files, lock files, and every install command.

A package that was replaced after it was pinned does not match its hash. No code of a package runs while it is
installed: neither the setup of a source distribution nor an install script.

The script also tests itself in every run. It removes one hash or flag after the other from copies of the files, and
must detect each. Finally, it offers a replaced wheel and a source distribution to infra/local/venv, which must refuse
both.
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
# Install commands, as in a shell, a page, a workflow or a Python list, and the flags that each needs.
COMMANDS = (
    (re.compile(r"""\bpip3?["']?,? +["']?(install|download|wheel)\b"""), ("--require-hashes", "--only-binary :all:")),
    (re.compile(r"""\bnpm["']?,? +["']?(ci|install|i|add|update|exec)\b"""), ("--ignore-scripts",)),
    (re.compile(r"""\bcargo["']?,? +["']?install\b"""), ("--locked",)),
    # These install the newest version.
    (re.compile(r"\b(npx|pipx|uvx|easy_install|yarn|pnpm) \w"), ("(another command)",)),
)
# Where a command ends.
END = re.compile(r"&&|\|\||[;|)`\n]")
Fault = tuple[str, str]


def joined(text: str) -> str:
    """Returns the text with continued lines joined."""
    return re.sub(r" *\\\n\s*", " ", text)


def of_requirements(direct: str, text: str) -> Iterator[Fault]:
    """Yields requirements that are not exactly a version with hashes, and missing direct requirements."""
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
    """Yields packages of a lock file without a hash."""
    for name, package in json.loads(text)["packages"].items():
        if name and not str(package.get("integrity", "")).startswith("sha512-"):
            yield name, "has no integrity"


def of_cargo(text: str) -> Iterator[Fault]:
    """Yields crates of a lock file without a checksum, except our own."""
    for package in tomllib.loads(text)["package"]:
        if "source" in package and not re.fullmatch(r"[0-9a-f]{64}", package.get("checksum", "")):
            yield package["name"], "has no checksum"


def commands(text: str) -> Iterator[tuple[int, int, str]]:
    """Yields the start and end of each install command in a joined text, with each flag that it needs."""
    for command, flags in COMMANDS:
        for match in command.finditer(text):
            end = END.search(text, match.end())
            yield from ((match.start(), end.start() if end else len(text), flag) for flag in flags)


def of_commands(text: str) -> Iterator[Fault]:
    """Yields install commands that lack a flag."""
    text = joined(text)
    for start, end, flag in commands(text):
        # Quotes and commas are Python syntax.
        words = re.sub(r"""["',\] ]+""", " ", text[start:end])
        if f" {flag} " not in f"{words} ":
            yield text[start:end], f"lacks {flag}"


def tracked(*patterns: str) -> list[Path]:
    """Returns the files of the project, including new ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def without(secured_by: str, text: str) -> Iterator[str]:
    """Yields about a dozen copies of the text, each without one match."""
    found = list(re.finditer(secured_by, text))
    for match in found[:: len(found) // 12 + 1] + found[-1:]:
        yield text[: match.start()] + text[match.end() :]


def without_flags(text: str) -> Iterator[str]:
    """Yields a copy of the text without one flag, for each flag."""
    text = joined(text)
    for start, end, flag in commands(text):
        yield text[:start] + text[start:end].replace(flag, "") + text[end:]


def faults(
    path: Path, check: Callable[[str], Iterator[Fault]], damage: Callable[[str], Iterator[str]]
) -> Iterator[Fault]:
    """Yields the faults of a file, and damaged copies of it that the check does not detect."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    yield from check(text)
    for number, damaged in enumerate(damage(text)):
        if not any(check(damaged)):
            yield f"damaged copy {number}", "was not detected: fix tests/scripts/check_installs.py"


def wheel(directory: Path, code: str) -> Path:
    """Writes the wheel of a package with one module."""
    file = directory / "harmless-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("harmless.py", code)
        archive.writestr("harmless-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: harmless\nVersion: 1\n")
        archive.writestr("harmless-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("harmless-1.dist-info/RECORD", "")
    return file


def sources(directory: Path, code: str) -> Path:
    """Writes the source distribution of the same package, which would run the code when it is built."""
    (directory / "harmless-1").mkdir()
    (directory / "harmless-1/setup.py").write_text(code)
    file = directory / "harmless-1.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        archive.add(directory / "harmless-1", "harmless-1")
    return file


def is_installed(offered: Path, pinned: str) -> bool:
    """Returns whether infra/local/venv installs the offered package for this requirement."""
    (offered.parent / "requirements.txt").write_text(pinned)
    # pip inverts the last one: `0` disables build isolation, so that build tools need not be downloaded.
    offers = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(offered.parent), "PIP_NO_BUILD_ISOLATION": "0"}
    command = [ROOT / "infra/local/venv", offered.parent / "venv", offered.parent / "requirements.txt"]
    return subprocess.run(command, env={**os.environ, **offers}, capture_output=True).returncode == 0


def attacks() -> Iterator[Fault]:
    """Yields packages that infra/local/venv must refuse but installs, and the reverse."""
    with tempfile.TemporaryDirectory() as place:
        good, replaced, unbuilt = (Path(place) / name for name in ("good", "replaced", "unbuilt"))
        for directory in (good, replaced, unbuilt):
            directory.mkdir()
        ran = unbuilt / "ran"
        setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='harmless', version='1')"
        good, replaced, unbuilt = wheel(good, ""), wheel(replaced, "harm = 1"), sources(unbuilt, setup)
        hashes = {
            file: f"harmless==1 --hash=sha256:{sha256(file.read_bytes()).hexdigest()}\n" for file in (good, unbuilt)
        }
        if is_installed(replaced, hashes[good]):
            yield "a replaced wheel", "is installed"
        if is_installed(replaced, "harmless==1\n"):
            yield "a requirement without a hash", "is installed"
        if is_installed(unbuilt, hashes[unbuilt]) or ran.exists():
            yield "a source distribution", "is installed, or runs code"
        if not is_installed(good, hashes[good]):
            yield "the pinned wheel", "is not installed"


def main() -> int:
    """Checks every file."""
    requirements, npm, cargo = (tracked(name) for name in ("*requirements*.txt", "*package-lock.json", "*Cargo.lock"))
    wrong = (
        []
        if requirements and npm and cargo
        else [(ROOT / "tests/scripts/check_installs.py", ("a kind of file", "was not found"))]
    )
    for path in requirements:
        check = partial(of_requirements, path.with_suffix(".in").read_text())
        # Removes all hashes of one package, or its version.
        wrong += [(path, fault) for fault in faults(path, check, partial(without, r"( \\\n    --hash=\S+)+|==[\w.]+"))]
    for path in npm:
        wrong += [(path, fault) for fault in faults(path, of_npm, partial(without, r'(?<="integrity": ")[^"]*'))]
    for path in cargo:
        wrong += [(path, fault) for fault in faults(path, of_cargo, partial(without, 'checksum = ".*"'))]
    for path in {*tracked()} - {*requirements, *npm, *cargo, Path(__file__).resolve()}:
        wrong += [(path, fault) for fault in faults(path, of_commands, without_flags)]
    wrong += [(ROOT / "infra/local/venv", fault) for fault in attacks()]
    for path, (what, why) in wrong:
        print(f"{path.relative_to(ROOT)}: {what} {why}", file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())
