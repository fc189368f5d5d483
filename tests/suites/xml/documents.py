"""Generates valid and corrupted XML documents, always the same ones for a seed.

Each document becomes two bodies: the document itself, and a valid body with the document as an unknown element.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAMESPACE = "http://schemas.datacontract.org/2004/07/"
INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
XML = "http://www.w3.org/XML/1998/namespace"
XMLNS = "http://www.w3.org/2000/xmlns/"
ROOT = f'<ArrayOfCancellationCreation xmlns:i="{INSTANCE}" xmlns="{NAMESPACE}">'
END = "</ArrayOfCancellationCreation>"
SAMPLE = f"""{ROOT}
  <CancellationCreation>
    <CreatorID>98765</CreatorID>
    <InternationalOrderUID i:nil="true" />
    <IsInternationalOrder>false</IsInternationalOrder>
    <OrderID>12345</OrderID>
    <PIN>1234</PIN>
  </CancellationCreation>
  <CancellationCreation>
    <CreatorID>98765</CreatorID>
    <InternationalOrderUID>6269c403-5b9f-47dd-b8c3-7ecbef8f686d</InternationalOrderUID>
    <IsInternationalOrder>true</IsInternationalOrder>
    <OrderID i:nil="true" />
    <PIN>1111</PIN>
  </CancellationCreation>
{END}"""


class Body(NamedTuple):
    """A body, and the charset in its Content-Type."""

    bytes: bytes
    charset: str | None = None


# The first and last characters of the ranges of XML 1.0's fifth edition, and their neighbours.
EDGES = [
    chr(point)
    for edge in (
        [0x09, 0x0A, 0x0D, 0x20, 0x2D, 0x2E, 0x2F, 0x30, 0x39, 0x3A, 0x41, 0x5A, 0x5F, 0x61, 0x7A, 0x7F, 0x85, 0xB7]
        + [0xC0, 0xD6, 0xD7, 0xD8, 0xF6, 0xF7, 0xF8, 0x2FF, 0x300, 0x36F, 0x370, 0x37D, 0x37E, 0x37F, 0x1FFF, 0x200C]
        + [0x200D, 0x203F, 0x2040, 0x2028, 0x2070, 0x218F, 0x2C00, 0x2FEF, 0x3001, 0xD7FF, 0xE000, 0xF900, 0xFDCF]
        + [0xFDF0, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0xEFFFF, 0xF0000, 0x10FFFF]
    )
    for point in (edge - 1, edge, edge + 1)
    if not 0xD800 <= point <= 0xDFFF and point <= 0x10FFFF
]

CASES: dict[str, list[str]] = {}
for line in (Path(__file__).parent / "cases.txt").read_text().splitlines():
    if line.startswith("[") and line.endswith("]"):
        rows = CASES[line[1:-1]] = []
    elif line and not line.startswith("# "):
        rows.append(line.encode("ascii", "backslashreplace").decode("unicode-escape"))

CONTENTS = (
    CASES["contents"]
    + [f"<a xmlns:{prefix}='{name}'/>" for prefix in ("xml", "xmlns", "p", "XML") for name in (XML, XMLNS, "u", "")]
    + [f"<a xmlns='{name}'/>" for name in (XML, XMLNS, XMLNS.replace("/", "&#47;"), XML + "/")]
    + [f"<a xmlns:p='{INSTANCE}' i:b='' p:b=''/>", f"<a xmlns:p='{NAMESPACE}' b='' p:b=''/>"]
    + [f"<a xmlns:p='{name}'/>" for name in CASES["namespaces"]]
    + [f"<{edge}/>" for edge in EDGES]
    + [f"<i:a{edge}/>" for edge in EDGES]
    + [f"{edge}<!--{edge}--><![CDATA[{edge}]]><a b='{edge}'/>" for edge in EDGES]
)
# Contents just within the limits, and just beyond them.
BOUNDS = [f"{'<a>' * depth}{'</a>' * depth}" for depth in (29, 30, 31, 32, 33, 300)] + [
    *("<a" + "".join(f" b{number}=''" for number in range(count)) + "/>" for count in (32, 33, 300)),
    *("<a" + "".join(f" xmlns:b{number}='u'" for number in range(count)) + "/>" for count in (32, 33)),
    *(f"<a b='{'x' * length}'/>" for length in (8_000, 8_300)),
]


def corrupted(rng: random.Random, text: str) -> str:
    """Changes a text in at most three places, so that most of it stays valid."""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        place = rng.randrange(len(text) + 1)
        end = min(len(text), place + rng.choice((1, 1, 2, 8)))
        other = rng.randrange(len(text) + 1)
        into = (
            "",
            text[place:end] * 2,
            text[other : other + 12],
            rng.choice(EDGES),
            rng.choice(CASES["pieces"]) + text[place:end],
        )
        text = text[:place] + rng.choice(into) + text[end:]
    return text


def entry(content: str) -> str:
    """Puts the content into an entry of a valid document."""
    return f"{ROOT}<CancellationCreation>{content}</CancellationCreation>{END}"


def made() -> list[str]:
    """Returns the documents made by hand."""
    documents = ["", " ", SAMPLE, SAMPLE[:-1], SAMPLE.replace("\n", "\r\n"), SAMPLE.replace("\n", "\r"), ROOT + END]
    documents += [f"{ROOT}{content}{END}" for content in ("text", "<CancellationCreation i:nil='1'/><Other/>")]
    documents += [SAMPLE.replace("4/07/", "4/07"), SAMPLE.replace("<Array", "<Array i:nil='true'")]
    documents += [f"<a>{content}</a>" for content in CONTENTS + BOUNDS]
    documents += [entry(member) for member in CASES["members"]]
    documents += [entry(f"<PIN>{content}</PIN>") for content in CASES["contents"]]
    return documents + [whole for around in CASES["around"] for whole in (around + SAMPLE, SAMPLE + around)]


def encoded(rng: random.Random, text: str) -> Body:
    """Encodes a text: mostly as UTF-8, otherwise as a correct or incorrect variant of UTF-16 or another encoding."""
    body = text.encode()
    match rng.randrange(16):
        case 0:
            return Body(b"\xef\xbb\xbf" + body, rng.choice((None, "utf-8", "utf-16")))
        case 1:
            return Body(b"\xff\xfe" + text.encode("utf-16-le"), rng.choice((None, "utf-16", "utf-16be", "utf-8")))
        case 2:
            return Body(b"\xfe\xff" + text.encode("utf-16-be"), rng.choice((None, "utf-16", "utf-16le", "us-ascii")))
        case 3:
            return Body(text.encode("utf-16-le"), rng.choice(("utf-16le", "UTF-16", None)))
        case 4:
            return Body(text.encode("utf-16-be"), rng.choice(("utf-16be", "utf-16", "utf-16le")))
        case 5 if body:
            place = rng.randrange(len(body))
            return Body(body[:place] + bytes([rng.randrange(128, 256)]) + body[place + 1 :])
        case 6:
            wide = b"\xff\xfe" + text.encode("utf-16-le")
            place = rng.randrange(len(wide) + 1)
            return Body(wide[:place] + rng.choice((b"\0", b"\0\xd8", b"\0\xdc", b"\xfe\xff")) + wide[place:])
        case 7:
            return Body(text.encode("latin-1", "replace"), "iso-8859-1")
    return Body(body)


def within(text: str) -> str:
    """Puts a document into an entry, as an unknown element."""
    return SAMPLE.replace("<OrderID>12345", f"{text}<OrderID>12345", 1)


def bodies(seed: int, count: int) -> Iterator[tuple[str, Body]]:
    """Yields two bodies for each document made by hand, and for each of `count` corrupted ones."""
    rng, by_hand = random.Random(seed), made()
    for text in by_hand:
        yield "whole", Body(text.encode())
        yield "within", Body(within(text).encode())
    for _ in range(count):
        two = rng.choice(CONTENTS) + rng.choice(CONTENTS)
        likely_good = (SAMPLE, SAMPLE, rng.choice(CASES["around"]) + SAMPLE, entry(rng.choice(CASES["members"])))
        text = corrupted(rng, rng.choice((*likely_good, f"<a>{two}</a>", rng.choice(by_hand))))
        yield "whole", encoded(rng, text)
        yield "within", encoded(rng, within(text))
