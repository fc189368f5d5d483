"""The table's rows as the page shows them, reduced to the members that are named here."""

from collections import defaultdict
from contextlib import suppress
from decimal import Decimal
from typing import Any

import boto3

# Maximum rows of each kind on a page. The counts include all rows.
MOST = 200

Row = dict[str, Any]
Shown = dict[str, list[Row]]


class Table:
    """The stack's table."""

    def __init__(self, name: str) -> None:
        self._table = boto3.resource("dynamodb").Table(name)

    def read(self) -> dict[str, Shown]:
        """Returns all bulks, cards, orders and operations, by tenant."""
        tenants: dict[str, Shown] = defaultdict(lambda: {"bulks": [], "cards": [], "orders": [], "operations": []})
        request = {
            "FilterExpression": "sk IN (:bulk, :card, :order, :operation)",
            "ExpressionAttributeValues": {":bulk": "BULK", ":card": "CARD", ":order": "ORDER", ":operation": "OP"},
        }
        while True:
            page = self._table.scan(**request)
            for row in page["Items"]:
                tenant, name = row["pk"].split("#")[:2]
                if name in KINDS:  # a counter has a card's sort key too
                    kind, show = KINDS[name]
                    # An incomplete row that was written by hand must not hide the others.
                    with suppress(KeyError, TypeError):
                        tenants[tenant][kind].append(plain(show(row)))
            if "LastEvaluatedKey" not in page:
                break
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
        for shown in tenants.values():
            sum_up_orders(shown)
        return tenants


def newest(shown: Shown) -> dict[str, Any]:
    """Returns the newest rows of each kind, and the number of all rows."""
    orders = {"bulks": "bulk_id", "cards": "card_id", "orders": "updated_at", "operations": "created_at"}
    sorted_rows = {
        kind: sorted(rows, key=lambda row, by=orders[kind]: row[by], reverse=True) for kind, rows in shown.items()
    }
    lists = {kind: rows[:MOST] for kind, rows in sorted_rows.items()}
    return {**lists, "counts": {kind: len(rows) for kind, rows in shown.items()}}


def plain(row: Row) -> Row:
    """Returns the row with its numbers as integers, for JSON."""
    return {name: int(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def bulk(row: Row) -> Row:
    """Returns a bulk's header, with the status and cancellation that the API derives from it."""
    waits = row["items"] > row["issued"] + row["canceled_blank"]
    return {
        "bulk_id": row["bulk_id"],
        "program_id": row["settings"]["program_id"],
        "status": "RUNNING" if row.get("starting") else "CREATED" if waits else "COMPLETED",
        "items": row["items"],
        "issued": row["issued"],
        "canceled": row["canceled"],
        "cancellation": "RUNNING" if row.get("canceling") else row.get("extent", ""),
        "is_sealed": "sealed_by" in row,
    }


def card(row: Row) -> Row:
    """Returns a card, with the account and customer that it is bound to."""
    bound = row.get("bound", {})
    return {
        "card_id": row["card_id"],
        "status": row["status"],
        "external_id": row.get("external_id", ""),
        "bulk_id": row.get("bulk_id", ""),
        "account_id": str(bound.get("account_id", "")),
        "customer_id": str(bound.get("customer_id", "")),
        "new_card_id": row.get("replaced", {}).get("new_card_id"),
    }


def order(row: Row) -> Row:
    """Returns an order, with the outcomes of its cancellations."""
    reference = row["order"]
    notes = row.get("cancellations", {})
    return {
        "order_id": str(reference.get("order_id", "")),
        "international_order_uid": reference.get("international_order_uid", ""),
        "creator_id": row.get("creator_id", ""),
        "status": row["status"],
        "pending": str(row.get("pending") or ""),
        "updated_at": row.get("updated_at", ""),
        "outcomes": {operation: note.get("outcome", {}).get("code", "") for operation, note in notes.items()},
    }


def operation(row: Row) -> Row:
    """Returns an operation, with its progress."""
    return {
        "operation_id": row["operation_id"],
        "kind": row["kind"],
        "state": row["state"],
        "cid": row["cid"],
        "created_at": row["created_at"],
        "ended_at": row.get("ended_at", ""),
        "bulk_id": row.get("bulk_id", ""),
        "card_id": row.get("card_id", ""),
        "orders": [str(next(iter(name.values()))) for name in row.get("orders", [])],
        "total": row.get("items_total"),
        "done": row.get("items_done", 0),
        "failed": row.get("items_failed", 0),
        "code": row.get("outcome", {}).get("code", ""),
    }


KINDS = {
    "BULK": ("bulks", bulk),
    "CARD": ("cards", card),
    "ORDER": ("orders", order),
    "INTL": ("orders", order),
    "OP": ("operations", operation),
}


def sum_up_orders(shown: Shown) -> None:
    """Derives the state of order cancellations from their orders, as `GET /operations/{id}` does."""
    codes: dict[str, list[str]] = defaultdict(list)
    for row in shown["orders"]:
        for operation_id, code in row.pop("outcomes").items():
            codes[operation_id].append(code)
    for row in shown["operations"]:
        if row["kind"] != "CANCEL_ORDERS":
            continue
        known = codes[row["operation_id"]]
        row["total"] = len(row["orders"])
        row["done"] = sum(1 for code in known if code)
        row["failed"] = sum(1 for code in known if code not in ("", "CANCELED"))
        if row["done"] == row["total"]:
            row["state"] = "SUCCEEDED"
        elif known:
            row["state"] = "RUNNING"
