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
            node.pop("examples", None)
            value = os.environ[EXAMPLES[name]]
            schema = node.get("schema", {})
            node["example"] = int(value) if schema.get("type") == "integer" else value
        case dict():
            for child in node.values():
                give_examples(child)
        case list():
            for child in node:
                give_examples(child)
