#!/usr/bin/env python3
"""Holds the pages to what they name: every link leads somewhere, and every test and function in code marks exists.

A name of three words or more (`of_many_binds_of_one_card_one_wins`) is a test or function, and so is what follows `::`;
one of two words must be somewhere in the code. Pages that explain code are held to names, all pages to links.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Pages that name tests and functions.
EXPLAINING = ["shared/GUARANTEES.md", "shared/ARCHITECTURE.md", "functions/README.md", "SECURITY.md", "tests/README.md"]
EXPLAINING += ["tests/EMULATOR.md", "tests/results/FOUND.md", "tests/results/MEMORY.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"`(\w+::)*([a-z]\w*)`")
FUNCTION = re.compile(r"\b(?:fn|def) (\w+)")


def tracked(*patterns: str) -> list[Path]:
    """The files of the project, those that are new included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def anchors(page: Path) -> set[str]:
    """What a link into the page may name: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Links to files or headings that are not there."""
    found = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or heading and heading not in anchors(target):
            found.append(f"a link to {link}, which is not there")
    return found


def unknown_names(page: Path, functions: set[str], words: set[str]) -> list[str]:
    """Tests and functions that are nowhere."""
    names = [(bool(path), name) for path, name in NAME.findall(FENCE.sub("", page.read_text())) if path or "_" in name]
    if not names:
        return ["no function at all: is this still the page?"]
    is_function = {name: is_path or name.count("_") > 1 for is_path, name in names}
    known = {name: functions if must_be else words for name, must_be in is_function.items()}
    return [f"`{name}`, which is nowhere" for name in known if name not in known[name]]


def main() -> int:
    """Says what is wrong, and where."""
    sources = "\n".join(path.read_text() for path in tracked("*.rs", "*.py"))
    functions, words = set(FUNCTION.findall(sources)), set(re.findall(r"\w+", sources))
    wrong = [(page, what) for page in tracked("*.md") for what in broken_links(page)]
    wrong += [(ROOT / page, what) for page in EXPLAINING for what in unknown_names(ROOT / page, functions, words)]
    for page, what in wrong:
        print(f"{page.relative_to(ROOT)} names {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
