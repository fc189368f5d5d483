#!/usr/bin/env python3
"""Checks that infra/api's documents and infra/schemas are valid, that references resolve, and that examples match.

Linters also check the OpenAPI document, and AsyncAPI's own parser checks the AsyncAPI document (tests/npm). The linters
do not read XML. The script also compares every request shown in a page with the OpenAPI document.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree

import jsonschema_rs
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
OPENAPI, ASYNCAPI = INFRA / "api/openapi.yaml", INFRA / "api/asyncapi.yaml"
SCHEMAS = sorted((INFRA / "schemas").rglob("*.json"))
# Members whose values are examples, which may contain anything, including nulls.
EXAMPLES = {"example", "examples", "value", "payload"}
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"

documents = {path: yaml.safe_load(path.read_text()) for path in (OPENAPI, ASYNCAPI)}
documents |= {path: json.loads(path.read_text()) for path in SCHEMAS}
found: list[str] = []
counts = {"references": 0, "examples": 0, "requests in pages": 0}
# Pages that show requests as shell commands.
PAGES = (ROOT / "README.md", INFRA / "api/README.md")
METHODS = ("get", "put", "post", "delete", "patch")


def nodes(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yields all objects of a document with their places, except those in examples."""
    if isinstance(node, dict):
        yield place, node
        for name, value in node.items():
            if name not in EXAMPLES or (isinstance(value, dict) and "schemaFormat" in value):
                yield from nodes(value, f"{place}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from nodes(value, f"{place}/{index}")


def resolve(path: Path, reference: str) -> Any:
    """Returns the target of a reference in this file."""
    file, _, pointer = reference.partition("#")
    node = documents[(path.parent / file).resolve() if file else path]
    for token in unquote(pointer).split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        node = node[int(token) if isinstance(node, list) else token]
    return node


def references(path: Path) -> None:
    """Checks that references resolve and that no value is null.

    YAML turns text after an unquoted comma into a member without a value.
    """
    for place, node in nodes(documents[path]):
        found.extend(f"{path.name}{place}: {name!r} is null" for name, value in node.items() if value is None)
        if "$ref" in node:
            counts["references"] += 1
            try:
                resolve(path, node["$ref"])
            except (KeyError, IndexError, ValueError):
                found.append(f"{path.name}{place}: {node['$ref']} does not exist")


def uri(path: Path) -> str:
    """Returns the name of a file in the registry."""
    return f"file:///{path.relative_to(INFRA)}"


registry = jsonschema_rs.Registry([(uri(path), document) for path, document in documents.items()])


def fits(path: Path, place: str, schema: str, value: Any) -> None:
    """Checks that an example at this place matches a schema of the file."""
    counts["examples"] += 1
    validator = jsonschema_rs.Draft202012Validator(
        {"$ref": f"{uri(path)}#{schema}"}, registry=registry, validate_formats=True
    )
    for error in validator.iter_errors(value):
        found.append(f"{path.name}{place}: {error.message} (at {list(error.instance_path)})")


def followed(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema without references to it and without a null alternative."""
    if "$ref" in schema:
        return followed(resolve(OPENAPI, schema["$ref"]))
    if "oneOf" in schema:
        return followed(next(one for one in schema["oneOf"] if one != {"type": "null"}))
    return schema


def from_xml(schema: dict[str, Any], element: ElementTree.Element, name: str, namespace: str) -> Any:
    """Returns the value of an element. Raises a ValueError if its name is wrong or a member is missing.

    The expected name is `name`, unless the schema defines another. DataContractSerializer reads members in alphabetical
    order, and ignores a member out of order.
    """
    schema = followed(schema)
    xml = schema.get("xml", {})
    namespace = xml.get("namespace", namespace)
    wanted = f"{{{namespace}}}{xml.get('name', name)}"
    if element.tag != wanted:
        raise ValueError(f"{element.tag} instead of {wanted}")
    if element.get(NIL) == "true":
        return None
    text = element.text or ""
    kinds = schema["type"]
    match kinds if isinstance(kinds, str) else kinds[0]:
        case "array":
            return [from_xml(schema["items"], child, "", namespace) for child in element]
        case "object":
            names = sorted(schema["properties"])
            return {
                name: from_xml(schema["properties"][name], child, name, namespace)
                for name, child in zip(names, element, strict=True)
            }
        case "boolean":
            return {"true": True, "false": False}[text]
        case "integer":
            return int(text)
    return text


def xml_example(place: str, schema: dict[str, Any], text: str) -> None:
    """Checks that an XML example is what .NET writes, and that its value matches the schema."""
    try:
        value = from_xml(schema, ElementTree.fromstring(text), "", "")
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        found.append(f"{OPENAPI.name}{place}: {error}")
    else:
        fits(OPENAPI, place, schema_of(place), value)


def schema_of(place: str) -> str:
    """Returns the pointer to a place's schema, with the braces escaped that a URI must not contain."""
    return f"{place}/schema".replace("{", "%7B").replace("}", "%7D")


def openapi_examples() -> None:
    """Checks that every OpenAPI example matches its schema, and that every XML media type has an example."""
    for place, node in nodes(documents[OPENAPI]):
        if "schema" not in node:
            continue
        examples = node.get("examples", {}).values()
        examples = [resolve(OPENAPI, one["$ref"]) if "$ref" in one else one for one in examples]
        if place.endswith("application~1xml") and not examples:
            found.append(f"{OPENAPI.name}{place}: no example")
        for example in examples + [{"value": node[name]} for name in ("example",) if name in node]:
            if place.endswith("xml"):
                file = example.get("externalValue")
                xml_example(place, node["schema"], (OPENAPI.parent / file).read_text() if file else example["value"])
            else:
                fits(OPENAPI, place, schema_of(place), example["value"])


def asyncapi_examples() -> None:
    """Checks that every message of the AsyncAPI document has examples that match its schema file."""
    for name, message in documents[ASYNCAPI]["components"]["messages"].items():
        file = (ASYNCAPI.parent / message["payload"]["schema"]["$ref"]).resolve()
        if file.name != f"{name}.schema.json":
            found.append(f"{ASYNCAPI.name}: {name} has the schema {file.name}")
        for example in message["examples"]:
            fits(file, f" (an example of {name})", "", example["payload"])


def operations() -> Iterator[tuple[str, str, dict[str, Any], list[dict[str, Any]]]]:
    """Yields each operation of the OpenAPI document: method, path, operation and parameters."""
    for path, item in documents[OPENAPI]["paths"].items():
        for method in METHODS:
            if method in item:
                parameters = item.get("parameters", []) + item[method].get("parameters", [])
                parameters = [resolve(OPENAPI, one["$ref"]) if "$ref" in one else one for one in parameters]
                yield method.upper(), path, item[method], parameters


def requests(page: Path) -> Iterator[list[str]]:
    """Yields the words of each curl command in a page's shell blocks, without expanding variables."""
    for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.M | re.S):
        block = re.sub(r" +# .*$", "", block, flags=re.M).replace("\\\n", " ")
        lexer = shlex.shlex(block, posix=True, punctuation_chars="\n;|&")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
        command: list[str] = []
        for word in [*lexer, "\n"]:
            if set(word) <= set("\n;|&"):
                if command[:1] == ["curl"]:
                    yield command
                command = []
            else:
                command.append(word)


def request_of_page(page: Path, words: list[str]) -> None:
    """Compares a request with its operation: parameters, headers and body."""
    place = f"{page.relative_to(ROOT)}: {' '.join(words)[:100]}"
    options = {"-H": [], "-d": [], "-X": []}
    for option, value in zip(words, words[1:], strict=False):
        options.get(option, []).append(value)
    url = next((word for word in words if word.startswith("$BINDERY_URL/")), "")
    path, _, query = url.removeprefix("$BINDERY_URL").partition("?")
    method = (options["-X"] or ["POST" if options["-d"] else "GET"])[0]
    route = f"{method} {path}"
    alike = (one for one in operations() if re.fullmatch(re.sub(r"{\w+}", "[^/]+", f"{one[0]} {one[1]}"), route))
    one = next(alike, None)
    if one is None:
        found.append(f"{place}: there is no operation {route}")
        return
    _, template, operation, parameters = one
    headers = {header.partition(":")[0].lower() for header in options["-H"]}
    known = {one["name"].lower() for one in parameters if one["in"] == "header"}
    required = {one["name"].lower() for one in parameters if one["in"] == "header" and one.get("required")}
    # `$token` is a shell variable that contains a header.
    usual = {"authorization", "$token", "content-type", "accept"}
    if unknown := headers - known - usual:
        found.append(f"{place}: {sorted(unknown)} are not headers of {method} {template}")
    if missing := required - headers:
        found.append(f"{place}: {sorted(missing)} are required")
    if unknown := {name for name, _ in parse_qsl(query)} - {one["name"] for one in parameters if one["in"] == "query"}:
        found.append(f"{place}: {sorted(unknown)} are not parameters of {method} {template}")
    body_of_page(place, f"/paths/{escaped(template)}/{method.lower()}", operation, options)


def escaped(path: str) -> str:
    """Escapes a path or a media type for use in a pointer."""
    return path.replace("~", "~0").replace("/", "~1")


def body_of_page(place: str, pointer: str, operation: dict[str, Any], options: dict[str, list[str]]) -> None:
    """Checks that the operation accepts the body of a page's request. Each variable in it stands for a number."""
    kinds = [value.partition(": ")[2] for value in options["-H"] if value.lower().startswith("content-type")]
    if not options["-d"]:
        if operation.get("requestBody", {}).get("required"):
            found.append(f"{place}: a body is required")
        return
    body = re.sub(r"\$\w+", "1", options["-d"][0])
    content = operation.get("requestBody", {}).get("content", {})
    if not kinds or kinds[0] not in content:
        found.append(f"{place}: {kinds} is not among {sorted(content)}")
    elif kinds[0].endswith("json"):
        fits(OPENAPI, f" ({place})", schema_of(f"{pointer}/requestBody/content/{escaped(kinds[0])}"), json.loads(body))
    else:
        # An entry's members are optional and in any order.
        entries = followed(content[kinds[0]]["schema"])
        names = set(followed(entries["items"])["properties"])
        root = ElementTree.fromstring(body)
        used = {child.tag.rpartition("}")[2] for entry in root for child in entry}
        if root.tag != f"{{{entries['xml']['namespace']}}}{entries['xml']['name']}" or not used or used - names:
            found.append(f"{place}: {root.tag}, {sorted(used - names)}")


def pages() -> None:
    """Checks that every request in the pages matches an operation of the document."""
    for page in PAGES:
        shown = list(requests(page))
        if not shown:
            found.append(f"{page.relative_to(ROOT)}: no curl request")
        counts["requests in pages"] += len(shown)
        for words in shown:
            request_of_page(page, words)


for document in documents:
    references(document)
for schema in SCHEMAS:
    jsonschema_rs.meta.validate(documents[schema])
if not found:
    errors = OpenAPIV31SpecValidator(documents[OPENAPI]).iter_errors()
    found += [f"{OPENAPI.name}: {error.message}" for error in errors]
    openapi_examples()
    asyncapi_examples()
    pages()
# Also fail if there was nothing to check.
if found or not all(counts.values()):
    raise SystemExit("\n".join(found) or f"FAILED: {counts}")
print(f"ok: {len(documents)} files, " + ", ".join(f"{count} {what}" for what, count in counts.items()))
