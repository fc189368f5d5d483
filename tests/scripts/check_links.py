#!/usr/bin/env python3
"""Checks that the links in pages lead somewhere, and that tests and functions named in code marks exist.

A name of three or more words (`one_of_many_binds_of_a_card_wins`) or after `::` must be a test or function. A name of
two words must occur somewhere in the code. Links are checked in all pages, names only in those that explain code.
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
    """Returns the files of the project, including new ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def anchors(page: Path) -> set[str]:
    """Returns the page's anchors: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    """Returns messages about links to missing files or headings."""
    found = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or heading and heading not in anchors(target):
            found.append(f"a link to {link}, which does not exist")
    return found


def unknown_names(page: Path, functions: set[str], words: set[str]) -> list[str]:
    """Returns messages about tests and functions that do not exist."""
    names = [(bool(path), name) for path, name in NAME.findall(FENCE.sub("", page.read_text())) if path or "_" in name]
    if not names:
        return ["no function: is this still the right page?"]
    is_function = {name: is_path or name.count("_") > 1 for is_path, name in names}
    known = {name: functions if must_be else words for name, must_be in is_function.items()}
    return [f"`{name}`, which does not exist" for name in known if name not in known[name]]


def main() -> int:
    """Prints what is wrong, and where."""
    sources = "\n".join(path.read_text() for path in tracked("*.rs", "*.py"))
    functions, words = set(FUNCTION.findall(sources)), set(re.findall(r"\w+", sources))
    wrong = [(page, what) for page in tracked("*.md") for what in broken_links(page)]
    wrong += [(ROOT / page, what) for page in EXPLAINING for what in unknown_names(ROOT / page, functions, words)]
    for page, what in wrong:
        print(f"{page.relative_to(ROOT)} names {what}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
