"""The API document for the reference, with this stack's address and the demo's IDs as examples."""

import os
from typing import Any

import yaml
from flask import abort
from stack.settings import INFRA

from .proxy import PREFIX

DOCUMENT = INFRA / "api" / "openapi.yaml"
# Parameters whose examples are resources that `up` has created.
EXAMPLES = {
    "x-account-id": "BINDERY_ACCOUNT",
    "x-customer-id": "BINDERY_CUSTOMER",
    "cardId": "BINDERY_CARD",
    "bulkID": "BINDERY_BULK",
}
# Left empty, so that each request has its own: with a fixed example, the second request would repeat the first.
UNFILLED = ("Idempotency-Key", "x-correlation-id")


def document() -> dict[str, Any]:
    """Returns the document as JSON."""
    if not DOCUMENT.exists():
        abort(404)
    found = yaml.safe_load(DOCUMENT.read_text())
    found["servers"] = [{"url": PREFIX, "description": "The local stack."}]
    give_examples(found)
    return found


def give_examples(node: Any) -> None:
    """Sets the demo's IDs as examples of parameters, and includes external examples."""
    match node:
        case {"in": "path" | "header", "name": str(name)} if name in EXAMPLES:
            node["example"] = os.environ[EXAMPLES[name]]
        case {"in": "header", "name": str(name)} if name in UNFILLED:
            for holder in (node, node.get("schema", {})):
                holder.pop("example", None)
                holder.pop("examples", None)
        case {"externalValue": str(file)}:
            # Swagger UI would show only the file's name.
            del node["externalValue"]
            node["value"] = (DOCUMENT.parent / file).read_text()
        case dict():
            for child in node.values():
                give_examples(child)
        case list():
            for child in node:
                give_examples(child)
