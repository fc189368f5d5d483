#!/usr/bin/env python3
"""Checks the style rules of CONTRIBUTING.md that a script can check.

Words that have a standard replacement, the first words of doc comments, line lengths, headings and long sentences.
With paths as arguments, checks only files below them. Exits with 1 if it finds anything.
"""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

from check_links import ROOT, tracked

WIDTH = 120
SENTENCE = 40
HEADING = 70
SUFFIXES = {".rs", ".py", ".sh", ".md", ".js", ".mjs", ".html", ".css", ".yaml", ".yml", ".toml", ".proto", ""}
# Not our words: the contract's documents, recorded data and lists that tools write.
FOREIGN = re.compile(
    r"^tests/(fuzz/)?seeds/|(^|/)LICENSE|\.lock$|requirements\.txt$|(^|/)\.(git|npm)|^tests/bench/results/.*\.json$"
)


class Word(NamedTuple):
    """A word that the project does not use."""

    pattern: str
    instead: str
    # Paths, from the root, in which the word means what it says.
    allowed: tuple[str, ...] = ()


WORDS = [
    Word(r"answer\w*", "return (code), respond or response (server)", ("cli/src/confirm.rs", "CONTRIBUTING.md")),
    Word(r"let_go|let go|lets go|letting go", "acknowledge, delete"),
    Word(r"bur(y|ied|ies|ying)", "dead-letter"),
    Word(r"fates?", "disposition, outcome"),
    Word(
        r"arenas?|crews?|labou?rs?|storms?|weather|calm|fuses?",
        "TestEnv, workers, simulation, fault schedule, kill_after",
    ),
    Word(r"stand-?ins?", "fake"),
    Word(r"hostile", "security, malicious"),
    Word(r"odd(ly|er|est)?", "unusual, invalid"),
    Word(r"spoil\w*", "corrupt, malformed"),
    Word(r"mend(s|ed|ing)?", "fix, repair"),
    Word(r"judge\w*", "classify, decide"),
    Word(r"told|said", "reported, published, stated, recorded"),
    Word(r"whoever|whomever|nobody|somebody|anybody", "name the actor: the client, an operator, no function"),
    # In lower case: not Python's `is None`.
    Word(r"(?-i:(is|are|was|were) none)", "there is no ..., none exists"),
    Word(r"of (which|what) (that|it) is|what came of|what becomes of|what became of", "the outcome of"),
    Word(r"for ever", "permanently, never expires"),
    Word(r"so many|so much", "that many; or name the number"),
    Word(r"is so now|as it is", "current"),
    Word(r"besides", "also, in addition"),
    Word(r"(organis|optimis|serialis|recognis|authoris)\w*", "American spelling"),
    Word(r"(behaviour|colour|favour|licence|cancelled)\w*", "American spelling"),
    Word(r"tall(y|ies)", "count"),
    Word(r"outlets?", "context"),
]
COMPILED = [(word, re.compile(rf"(?<![a-z])(?:{word.pattern})(?![a-z])", re.IGNORECASE)) for word in WORDS]
# Almost no line has any of them.
ANY = re.compile("|".join(pattern.pattern for _, pattern in COMPILED), re.IGNORECASE)

# A doc comment that begins so is a fragment, or needs the line before it.
FRAGMENT = set("That Whether What Which Who Whom Whose Where When How Why".split())
FRAGMENT |= set("Of For To At In From With By And Or But As If So Its".split())
NO_VERB = set("This Its Is Was Has Does Always Whose Thus Plus Perhaps Besides Us".split())
ITEM = re.compile(r"(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe |extern \"C\" )*fn (\w+)")


def shown(path: Path) -> str:
    """Returns the path from the root."""
    return str(path.relative_to(ROOT))


def words(path: Path, lines: list[str]) -> list[tuple[int, str]]:
    """Finds the words of the list, in prose and in the parts of identifiers.

    >>> [number for number, _ in words(ROOT / "a.rs", ["answered", "fn answer_of", "a coddled band", "OddOne", "told"])]
    [1, 2, 4, 5]
    """
    found = []
    for number, line in enumerate(lines, 1):
        split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", line)
        if not ANY.search(split):
            continue
        for word, pattern in COMPILED:
            if shown(path) not in word.allowed and (match := pattern.search(split)):
                found.append((number, f"“{match.group(0)}”: {word.instead}"))
    return found


def sentence(text: str, verb: bool) -> str | None:
    """Returns what is wrong with the first sentence of a doc comment, if anything is.

    >>> [sentence(text, verb=True) for text in ["Returns the bulk.", "Sends it, if it can."]]
    [None, None]
    >>> [sentence(text, verb=True)[:10] for text in ["Whether it is there.", "The bulk.", "Is it?", "This returns it."]]
    ['a fragment', 'a fragment', 'a fragment', 'begin with']
    >>> [sentence(text, verb=False) for text in ["The URL of the queue.", "`QueueUrl`."]]
    [None, None]
    >>> sentence("The URL of a queue", verb=False)[:14]
    'not a sentence'
    """
    first = text.split()
    if not first or first[0][0] in "`[\"'<#|":
        return None
    if first[0].rstrip(",") in FRAGMENT or len(first) < 3:
        return f"a fragment: “{text[:50]}”"
    if verb and (first[0] in NO_VERB or not re.fullmatch(r"[A-Z][a-z-]+s", first[0])):
        return f"begin with a verb in the third person, as “Returns”: “{text[:50]}”"
    return None if re.search(r"[.:!?]['\"`)”*]*(\s|$)", text) else f"not a sentence: “{text[:50]}”"


def rust_docs(lines: list[str]) -> list[tuple[int, str]]:
    """Checks each doc comment; those of functions that are no tests begin with a verb.

    >>> rust_docs(["/// A message is lost here.", "#[test]", "fn lost() {}", "/// Returns the ID.", "pub fn id() {}"])
    []
    >>> [number for number, _ in rust_docs(["/// Returns an", "/// ID.", "fn a() {}", "/// An ID of it.", "fn b() {}"])]
    [4]
    """
    found = []
    number = 0
    while number < len(lines):
        match = re.match(r"\s*//([/!])(?!/) ?(.*)", lines[number])
        if not match:
            number += 1
            continue
        start, block = number, []
        while number < len(lines) and (more := re.match(rf"\s*//{match.group(1)} ?(.*)", lines[number])):
            block.append(more.group(1))
            number += 1
        test, ahead = False, number
        while ahead < len(lines) and re.match(r"\s*(#\[|\)\]|//)", lines[ahead]):
            test |= "test]" in lines[ahead] or "test(" in lines[ahead]
            ahead += 1
        function = ahead < len(lines) and ITEM.match(lines[ahead].strip())
        first = " ".join("\n".join(block).split("\n\n")[0].split())
        if problem := sentence(first, bool(function) and not test and match.group(1) == "/"):
            found.append((start + 1, problem))
    return found


def python_docs(text: str) -> list[tuple[int, str]]:
    """Checks each docstring; those of functions that are no tests begin with a verb.

    >>> [problem for _, problem in python_docs("def id(): 'Returns the ID of it.'")]
    []
    >>> [number for number, _ in python_docs("def id(): 'The ID of the message.'")]
    [1]
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        doc = ast.get_docstring(node)
        verb = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("test_")
        if doc and (problem := sentence(" ".join(doc.split("\n\n")[0].split()), verb)):
            found.append((node.body[0].lineno, problem))
    return found


def too_wide(path: Path, lines: list[str]) -> list[tuple[int, str]]:
    """Finds lines over the width. A table's row, a link and a line without a space cannot be broken.

    >>> long = "a word " * 20
    >>> [len(too_wide(ROOT / "a.md", [line])) for line in (long, "|" + long, long + "x" * 70, long[:120])]
    [1, 0, 0, 0]
    """
    found = []
    for number, line in enumerate(lines, 1):
        unbreakable = path.suffix == ".md" and line.startswith("|") or bool(re.search(r"\S{70}", line))
        # An inline table of TOML has one line.
        unbreakable |= path.suffix == ".toml" and not line.startswith("#")
        if len(line) > WIDTH and not unbreakable:
            found.append((number, f"{len(line)} characters, {WIDTH} are the limit"))
    return found


def prose(lines: list[str]) -> list[tuple[int, str]]:
    """Returns the paragraphs and list items of a page, with their first lines: no code, tables or headings."""
    paragraphs, open_paragraph, fence = [], False, False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            fence, open_paragraph = not fence, False
        elif fence or not line.strip() or line.startswith(("|", "#", "<", "!")):
            open_paragraph = False
        elif re.match(r"\s*([-*]|\d+\.) ", line) or not open_paragraph:
            paragraphs.append((number, line.strip()))
            open_paragraph = True
        else:
            paragraphs[-1] = (paragraphs[-1][0], f"{paragraphs[-1][1]} {line.strip()}")
    return paragraphs


def sentences(lines: list[str]) -> list[tuple[int, str]]:
    """Finds sentences of more than one idea: long ones, and those with two semicolons.

    >>> [number for number, _ in sentences(["one; two; three.", "", "```", "a; b; c", "```", "- " + "word " * 41])]
    [1, 6]
    """
    found = []
    for number, paragraph in prose(lines):
        plain = re.sub(r"\]\([^)]*\)|`[^`]*`", "x", paragraph)
        for one in re.split(r"(?<=[.!?:])\s", plain):
            if len(one.split()) > SENTENCE:
                found.append(
                    (number, f"a sentence of {len(one.split())} words, {SENTENCE} are the limit: “{one[:50]}”")
                )
            if one.count(";") > 1:
                found.append((number, f"two semicolons in a sentence: “{one[:50]}”"))
    return found


def headings(lines: list[str]) -> list[tuple[int, str]]:
    """Checks that a page has one title, skips no level, and has short headings without a full stop, each once.

    >>> [number for number, _ in headings(["# Title", "## One", "#### Three", "## One", "# Second", "## Stop."])]
    [3, 4, 5, 6]
    """
    found, level, seen, fence = [], 0, set(), False
    for number, line in enumerate(lines, 1):
        fence ^= line.lstrip().startswith("```")
        if fence or not (match := re.match(r"(#+) (.+)$", line)):
            continue
        depth, text = len(match.group(1)), match.group(2)
        if depth > level + 1 or (depth == 1) != (level == 0):
            found.append((number, f"heading of level {depth} after {level}"))
        if text.endswith((".", ":", ",")) or len(text) > HEADING or text in seen:
            found.append((number, f"heading too long, with a full stop, or there twice: “{text}”"))
        level = depth
        seen.add(text)
    return found


def problems(path: Path) -> list[tuple[int, str]]:
    """Returns what is wrong with a file, with line numbers."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return []
    lines = text.split("\n")
    found = words(path, lines) + too_wide(path, lines)
    if path.suffix == ".rs":
        found += rust_docs(lines)
    if path.suffix == ".py":
        found += python_docs(text)
    if path.suffix == ".md":
        found += headings(lines) + sentences(lines)
    return sorted(found)


def main() -> None:
    """Prints what is wrong in the files below the arguments' paths, or in all."""
    below = [Path(argument).resolve() for argument in sys.argv[1:]] or [ROOT]
    files = [path for path in tracked() if path.suffix in SUFFIXES and not FOREIGN.search(shown(path))]
    files = [path for path in files if any(path.is_relative_to(root) for root in below) and path != Path(__file__)]
    found = [f"{shown(path)}:{number}: {problem}" for path in files for number, problem in problems(path)]
    print("\n".join(found))
    print(f"{len(files)} files, {len(found)} findings")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
