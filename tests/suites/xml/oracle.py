"""Prints many bodies with the result that the endpoint must have for each: one line of JSON per body.

libxml2 determines whether a body is well-formed. The contract may still refuse a well-formed body by one of the rules
named here. All other bodies must be read.
"""

import base64
import codecs
import json
import re
import sys

from documents import INSTANCE, NAMESPACE, Body, bodies
from lxml import etree

MAX_DEPTH = 32
MAX_ATTRIBUTES = 32
MAX_TAG = 8 * 1024
SPACE = " \t\r\n"
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
HEX = "[0-9a-fA-F]"
D = f"{HEX}{{8}}(-{HEX}{{4}}){{3}}-{HEX}{{12}}"
UID = re.compile(f"{D}|{HEX}{{32}}|\\{{{D}\\}}")
INTEGER = re.compile("[+-]?[0-9]+")
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
DECLARED = {"utf-8": ["utf-8"], "utf-16-le": ["utf-16", "utf-16le"], "utf-16-be": ["utf-16", "utf-16be"]}
# The XML declarations that libxml2 accepts.
DECLARATION = re.compile(r"""<\?xml\s+version\s*=\s*['"]([^'"]*)['"](?:\s+encoding\s*=\s*['"]([^'"]*)['"])?""")

Entry = tuple[int | None, str | None] | None


class RefusedError(Exception):
    """The error for a well-formed body that the contract refuses. Its message is the rule."""


def encoding(body: Body) -> str:
    """Returns the encoding in which the contract requires the endpoint to read the body."""
    for mark, name in MARKS.items():
        if body.bytes.startswith(mark):
            return name
    match (body.charset or "").lower():
        case "utf-16":
            return "utf-16-be" if body.bytes.startswith(b"\0") else "utf-16-le"
        case "utf-16le" | "utf-16be" as charset:
            return charset.replace("16", "16-")
    return "utf-8"


def parsed(body: Body) -> etree._Element:
    """Parses with libxml2's own detection of the encoding. Names the byte order only if the bytes do not show it."""
    has_mark = any(body.bytes.startswith(mark) for mark in MARKS)
    override = None if has_mark or encoding(body) == "utf-8" else encoding(body).replace("16-", "16").upper()
    parser = etree.XMLParser(encoding=override, resolve_entities=False, no_network=True, load_dtd=False)
    root = etree.fromstring(body.bytes, parser)
    # lxml raises only the last message. A warning hides an earlier error about namespaces.
    for error in parser.error_log.filter_from_errors():
        raise etree.XMLSyntaxError(error.message, error.type, error.line, error.column)
    return root


def is_nil(element: etree._Element) -> bool:
    """Returns whether an element is null."""
    nil = element.get(f"{{{INSTANCE}}}nil", "false").strip(SPACE)
    if nil not in BOOLEANS:
        raise RefusedError("a bad value")
    return BOOLEANS[nil]


def children(element: etree._Element) -> list[etree._Element]:
    """Returns the child elements of an element that may have no text of its own."""
    if "".join(element.xpath("text()")).strip(SPACE):
        raise RefusedError("text between elements")
    return element.xpath("*")


def entry(element: etree._Element) -> Entry:
    """Reads an entry's order ID and UID."""
    if is_nil(element):
        return None
    values: dict[str, str | None] = {}
    for member in children(element):
        name = etree.QName(member)
        if name.namespace != NAMESPACE or name.localname not in MEMBERS:
            continue
        if name.localname in values:
            raise RefusedError("a member twice")
        values[name.localname] = None if is_nil(member) else value(member)
        if not MEMBERS[name.localname](values[name.localname]):
            raise RefusedError("a bad value")
    order, uid = values.get("OrderID"), values.get("InternationalOrderUID")
    plain = uid and re.sub("[^0-9a-f]", "", uid.lower())
    return order and int(order), plain and "-".join(re.fullmatch("(.{8})(.{4})(.{4})(.{4})(.{12})", plain).groups())


def value(member: etree._Element) -> str:
    """Returns the text of a member that is not null."""
    if member.xpath("*"):
        raise RefusedError("an element in a value")
    return member.xpath("string()")


def is_integer(text: str | None) -> bool:
    """Returns whether a value is null or a 32-bit integer."""
    if text is None:
        return True
    text = text.strip(SPACE)
    return bool(INTEGER.fullmatch(text)) and -(2**31) <= int(text) < 2**31


MEMBERS = {
    "CreatorID": is_integer,
    "OrderID": is_integer,
    "PIN": lambda _: True,
    "IsInternationalOrder": lambda text: (text or "").strip(SPACE) in BOOLEANS,
    "InternationalOrderUID": lambda text: text is None or bool(UID.fullmatch(text.strip(SPACE))),
}


def entries(body: Body, root: etree._Element) -> list[Entry]:
    """Reads the entries of a well-formed body by the contract's rules."""
    try:
        text = body.bytes.decode(encoding(body)).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise RefusedError("an encoding") from None
    declared = DECLARATION.match(text)
    version, declared_encoding = declared.groups() if declared else ("1.0", None)
    # libxml2 detects UTF-16 itself, whatever encoding is declared.
    if "\0" in text or declared_encoding and declared_encoding.lower() not in DECLARED[encoding(body)]:
        raise RefusedError("an encoding")
    # libxml2 accepts a version without a minor number.
    if not re.fullmatch(r"1\.[0-9]+", version):
        raise RefusedError("a declaration")
    if root.getroottree().docinfo.internalDTD is not None:
        raise RefusedError("a DTD")
    if root.getroottree().xpath("//processing-instruction()"):
        raise RefusedError("a processing instruction")
    for element in root.iter(etree.Element):
        if len(list(element.iterancestors())) >= MAX_DEPTH:
            raise RefusedError("the depth")
        outer = element.getparent().nsmap if element.getparent() is not None else {}
        declares = [prefix for prefix, name in element.nsmap.items() if outer.get(prefix) != name]
        if len(element.attrib) + len(declares) > MAX_ATTRIBUTES or sum(map(len, element.attrib.values())) > MAX_TAG:
            raise RefusedError("the size of a tag")
    if root.tag != f"{{{NAMESPACE}}}ArrayOfCancellationCreation" or is_nil(root):
        raise RefusedError("another root")
    return [entry(element) for element in children(root) if element.tag == f"{{{NAMESPACE}}}CancellationCreation"]


def expected(body: Body) -> dict[str, object]:
    """Returns the result that the endpoint must have for a body."""
    try:
        root = parsed(body)
    except etree.XMLSyntaxError as error:
        return {"refused": "not well-formed", "why": error.msg}
    try:
        return {"entries": entries(body, root)}
    except RefusedError as rule:
        return {"refused": str(rule)}


def main() -> None:
    """Prints the bodies of a seed's documents, with their expected results."""
    seed, count = map(int, sys.argv[1:])
    for form, body in bodies(seed, count):
        case = {"form": form, "charset": body.charset, "bytes": base64.b64encode(body.bytes).decode()}
        print(json.dumps(case | expected(body)))


if __name__ == "__main__":
    main()
