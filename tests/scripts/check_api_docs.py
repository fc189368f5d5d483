#!/usr/bin/env python3
"""Checks infra/api's documents and infra/schemas: that they are valid, that references resolve, that examples fit.

Linters check OpenAPI's document besides, and AsyncAPI's own parser its: see tests/npm. Neither linter reads XML.
The pages are held to the document, too: every request that a page shows.
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
# What is an example may be anything, nulls and all.
EXAMPLES = {"example", "examples", "value", "payload"}
NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"

documents = {path: yaml.safe_load(path.read_text()) for path in (OPENAPI, ASYNCAPI)}
documents |= {path: json.loads(path.read_text()) for path in SCHEMAS}
found: list[str] = []
counts = {"references": 0, "examples": 0, "requests in pages": 0}
# Pages whose requests are typed into a shell.
PAGES = (ROOT / "README.md", INFRA / "api/README.md")
METHODS = ("get", "put", "post", "delete", "patch")


def nodes(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """All objects of a document, with their places, but those in examples."""
    if isinstance(node, dict):
        yield place, node
        for name, value in node.items():
            if name not in EXAMPLES or (isinstance(value, dict) and "schemaFormat" in value):
                yield from nodes(value, f"{place}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from nodes(value, f"{place}/{index}")


def resolve(path: Path, reference: str) -> Any:
    """What a reference in this file leads to."""
    file, _, pointer = reference.partition("#")
    node = documents[(path.parent / file).resolve() if file else path]
    for token in unquote(pointer).split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        node = node[int(token) if isinstance(node, list) else token]
    return node


def references(path: Path) -> None:
    """Every reference resolves, and nothing is null: a comma in a text makes a member of what follows it."""
    for place, node in nodes(documents[path]):
        found.extend(f"{path.name}{place}: {name!r} is null" for name, value in node.items() if value is None)
        if "$ref" in node:
            counts["references"] += 1
            try:
                resolve(path, node["$ref"])
            except (KeyError, IndexError, ValueError):
                found.append(f"{path.name}{place}: {node['$ref']} leads nowhere")


def uri(path: Path) -> str:
    """The name of a file in the registry."""
    return f"file:///{path.relative_to(INFRA)}"


registry = jsonschema_rs.Registry([(uri(path), document) for path, document in documents.items()])


def fits(path: Path, place: str, schema: str, value: Any) -> None:
    """An example at this place fits the schema at that one."""
    counts["examples"] += 1
    validator = jsonschema_rs.Draft202012Validator(
        {"$ref": f"{uri(path)}#{schema}"}, registry=registry, validate_formats=True
    )
    for error in validator.iter_errors(value):
        found.append(f"{path.name}{place}: {error.message} (at {list(error.instance_path)})")


def followed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that references and a null beside it stand around."""
    if "$ref" in schema:
        return followed(resolve(OPENAPI, schema["$ref"]))
    if "oneOf" in schema:
        return followed(next(one for one in schema["oneOf"] if one != {"type": "null"}))
    return schema


def from_xml(schema: dict[str, Any], element: ElementTree.Element, name: str, namespace: str) -> Any:
    """The value that an element stands for; it has this name, unless its schema says another, and all its members.

    DataContractSerializer reads members in the order of their names, and drops one that comes out of it.
    """
    schema = followed(schema)
    xml = schema.get("xml", {})
    namespace = xml.get("namespace", namespace)
    wanted = f"{{{namespace}}}{xml.get('name', name)}"
    if element.tag != wanted:
        raise ValueError(f"{element.tag} stands where {wanted} must")
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
    """An example in XML is what .NET writes, and means what fits the schema."""
    try:
        value = from_xml(schema, ElementTree.fromstring(text), "", "")
    except (ElementTree.ParseError, ValueError, KeyError) as error:
        found.append(f"{OPENAPI.name}{place}: {error}")
    else:
        fits(OPENAPI, place, schema_of(place), value)


def schema_of(place: str) -> str:
    """The pointer to a place's schema: slashes of paths and media types are escaped; what a URI cannot hold is not."""
    return f"{place}/schema".replace("{", "%7B").replace("}", "%7D")


def openapi_examples() -> None:
    """Every example of the OpenAPI document fits the schema that stands beside it; XML is shown wherever it is sent."""
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
    """Every message of the AsyncAPI document has examples, and they fit its file's schema."""
    for name, message in documents[ASYNCAPI]["components"]["messages"].items():
        file = (ASYNCAPI.parent / message["payload"]["schema"]["$ref"]).resolve()
        if file.name != f"{name}.schema.json":
            found.append(f"{ASYNCAPI.name}: {name} has the schema {file.name}")
        for example in message["examples"]:
            fits(file, f" (an example of {name})", "", example["payload"])


def operations() -> Iterator[tuple[str, str, dict[str, Any], list[dict[str, Any]]]]:
    """Each operation of the OpenAPI document: its method, its path, what it is, and all its parameters."""
    for path, item in documents[OPENAPI]["paths"].items():
        for method in METHODS:
            if method in item:
                parameters = item.get("parameters", []) + item[method].get("parameters", [])
                parameters = [resolve(OPENAPI, one["$ref"]) if "$ref" in one else one for one in parameters]
                yield method.upper(), path, item[method], parameters


def requests(page: Path) -> Iterator[list[str]]:
    """The words of each command by curl in a page's blocks for the shell; variables stay as they are."""
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
    """Holds a request to its operation: parameters, headers, and the body."""
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
        found.append(f"{place}: no operation is at {route}")
        return
    _, template, operation, parameters = one
    headers = {header.partition(":")[0].lower() for header in options["-H"]}
    known = {one["name"].lower() for one in parameters if one["in"] == "header"}
    required = {one["name"].lower() for one in parameters if one["in"] == "header" and one.get("required")}
    # `$token` is a header in a variable of the shell.
    usual = {"authorization", "$token", "content-type", "accept"}
    if unknown := headers - known - usual:
        found.append(f"{place}: {sorted(unknown)} are no headers of {method} {template}")
    if missing := required - headers:
        found.append(f"{place}: {sorted(missing)} are required")
    if unknown := {name for name, _ in parse_qsl(query)} - {one["name"] for one in parameters if one["in"] == "query"}:
        found.append(f"{place}: {sorted(unknown)} are no parameters of {method} {template}")
    body_of_page(place, f"/paths/{escaped(template)}/{method.lower()}", operation, options)


def escaped(path: str) -> str:
    """A path or a media type as a part of a pointer."""
    return path.replace("~", "~0").replace("/", "~1")


def body_of_page(place: str, pointer: str, operation: dict[str, Any], options: dict[str, list[str]]) -> None:
    """The body of a page's request is one that the operation takes. Each variable in it is a number."""
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
        # Members of an entry come in any order, and need not be there.
        entries = followed(content[kinds[0]]["schema"])
        names = set(followed(entries["items"])["properties"])
        root = ElementTree.fromstring(body)
        said = {child.tag.rpartition("}")[2] for entry in root for child in entry}
        if root.tag != f"{{{entries['xml']['namespace']}}}{entries['xml']['name']}" or not said or said - names:
            found.append(f"{place}: {root.tag}, {sorted(said - names)}")


def pages() -> None:
    """Every request of the pages is one that the document has."""
    for page in PAGES:
        shown = list(requests(page))
        if not shown:
            found.append(f"{page.relative_to(ROOT)}: no request by curl")
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
# With nothing to check it would be content, too.
if found or not all(counts.values()):
    raise SystemExit("\n".join(found) or f"FAILED: {counts}")
print(f"ok: {len(documents)} files, " + ", ".join(f"{count} {what}" for what, count in counts.items()))
