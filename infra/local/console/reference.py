"""The API's document, as the reference shows it: with this stack's address, and things of the demo to try it on."""

import os
from typing import Any

import yaml
from flask import abort
from stack.settings import INFRA

from .proxy import PREFIX

DOCUMENT = INFRA / "api" / "openapi.yaml"
# Parameters that name what `up` has made.
EXAMPLES = {
    "x-account-id": "BINDERY_ACCOUNT",
    "x-customer-id": "BINDERY_CUSTOMER",
    "cardId": "BINDERY_CARD",
    "bulkID": "BINDERY_BULK",
}
# Each request has its own: with the document's, the second would be the first one's repetition.
UNFILLED = ("Idempotency-Key", "x-correlation-id")


def document() -> dict[str, Any]:
    """The document."""
    if not DOCUMENT.exists():
        abort(404)
    found = yaml.safe_load(DOCUMENT.read_text())
    found["servers"] = [{"url": PREFIX, "description": "the local stack"}]
    give_examples(found)
    return found


def give_examples(node: Any) -> None:
    """Puts the demo's things into the parameters that name such."""
    match node:
        case {"in": "path" | "header", "name": str(name)} if name in EXAMPLES:
            node["example"] = os.environ[EXAMPLES[name]]
        case {"in": "header", "name": str(name)} if name in UNFILLED:
            for holder in (node, node.get("schema", {})):
                holder.pop("example", None)
                holder.pop("examples", None)
        case {"externalValue": str(file)}:
            # Swagger UI shows no more than its name.
            del node["externalValue"]
            node["value"] = (DOCUMENT.parent / file).read_text()
        case dict():
            for child in node.values():
                give_examples(child)
        case list():
            for child in node:
                give_examples(child)
