"""The conditional writes of a bind, and the events that say what came of it."""

import uuid
from typing import Any

from common import (
    AFTER_REISSUE,
    REFUSALS,
    TABLE,
    Conflict,
    Refused,
    Row,
    card_key,
    check_card,
    check_reissued,
    dynamodb,
    from_item,
    get,
    operation_key,
    retrying,
    timestamp,
    to_item,
    utc_now,
)
from message import Broken

BUSY_CODES = {
    "None",
    "ConditionalCheckFailed",
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
}


def apply(message: Row) -> tuple[str, list[Row]]:
    """Binds the card, and stores the outcome on the operation if it has none; answers it, and its events."""
    org, operation, bind = message["org_id"], message["operation_id"], message["instruction"]["bind"]
    now = timestamp(utc_now())
    if "reissued_card_id" in bind:
        effect = retrying(lambda: reissue(org, operation, bind, now))
    else:
        effect = bind_plain(org, operation, bind, now)
    if "code" in effect:
        outcome = {"status": "FAILURE", "at": now, "code": effect["code"], "card_status": effect["card_status"]}
    else:
        outcome = {"status": "SUCCESS", "at": effect["at"]}
    outcome = end(org, operation, outcome)
    if (outcome["status"] == "FAILURE") != ("code" in effect):
        raise Broken("the stored outcome contradicts the card's marks")
    return outcome["status"], events(message, outcome, effect.get("replaced"))


def bind_plain(org: str, operation: str, bind: Row, now: str) -> Row:
    """One conditional write: it does the bind, finds it done by this operation, or finds why not."""
    done, card = change(**bind_change(org, operation, bind, now))
    if done:
        return {"at": now}
    bound = card.get("bound", {}) if card else {}
    if bound.get("by") == operation:
        return {"at": bound["at"]}
    try:
        check_card(card)
    except Refused as refused:
        return refusal(refused, card)
    raise Broken("DynamoDB refused a card that is UNBOUND")


def reissue(org: str, operation: str, bind: Row, now: str) -> Row:
    """Reads both cards, decides, and writes both at once on the condition that they are as they were read."""
    card = get(card_key(org, bind["card_id"]))
    old = get(card_key(org, bind["reissued_card_id"]))
    mark = old.get("replaced", {}) if old else {}
    if mark.get("by") == operation:
        return {"at": mark["at"], "replaced": replaced(old, mark["previous_status"])}
    try:
        check_card(card)
        status = check_reissued(old, bind)
    except Refused as refused:
        return refusal(refused, card)
    mark = {"by": operation, "at": now, "new_card_id": bind["card_id"], "previous_status": old["status"]}
    writes = [bind_change(org, operation, bind, now), replace_change(org, bind, status, mark)]
    try:
        dynamodb.transact_write_items(TransactItems=[{"Update": update(**write)} for write in writes])
    except dynamodb.exceptions.TransactionCanceledException as error:
        if all(reason["Code"] in BUSY_CODES for reason in error.response["CancellationReasons"]):
            raise Conflict from error
        raise
    return {"at": now, "replaced": replaced(old, old["status"])}


def refusal(refused: Refused, card: Row | None) -> Row:
    """The card does not carry the operation's mark, and never will. One that is gone was last known UNBOUND."""
    return {"code": str(refused), "card_status": card["status"] if card else "UNBOUND"}


def replaced(card: Row, previous_status: str) -> Row:
    """What an event says of the card that was replaced."""
    names = ("card_id", "contactless_enabled")
    return {"previous_status": previous_status, **{name: card[name] for name in names}}


def bind_change(org: str, operation: str, bind: Row, now: str) -> Row:
    """UNBOUND → CREATED, with the mark."""
    mark = {"by": operation, "at": now, "account_id": bind["account_id"], "customer_id": bind["customer_id"]}
    return {
        "key": card_key(org, bind["card_id"]),
        "expression": "SET #status = :created, #bound = :mark",
        "condition": "#status = :unbound AND attribute_not_exists(#bound)",
        "names": ("status", "bound"),
        "values": {":unbound": "UNBOUND", ":created": "CREATED", ":mark": mark},
    }


def replace_change(org: str, bind: Row, status: str, mark: Row) -> Row:
    """The card's status as read → its status once replaced, with the mark."""
    return {
        "key": card_key(org, bind["reissued_card_id"]),
        "expression": "SET #status = :status, #replaced = :mark",
        "condition": "#status = :previous AND attribute_not_exists(#replaced) "
        "AND #bound.account_id = :account AND #bound.customer_id = :customer",
        "names": ("status", "bound", "replaced"),
        "values": {
            ":previous": mark["previous_status"],
            ":status": status,
            ":mark": mark,
            ":account": bind["account_id"],
            ":customer": bind["customer_id"],
        },
    }


def end(org: str, operation: str, outcome: Row) -> Row:
    """Ends the operation with this outcome, unless it has one already. Answers the first one, for ever."""
    done, row = change(
        key=operation_key(org, operation),
        expression="SET #state = :state, outcome = :outcome, ended_at = :at",
        condition="attribute_exists(pk) AND attribute_not_exists(outcome)",
        names=("state",),
        values={
            ":state": "SUCCEEDED" if outcome["status"] == "SUCCESS" else "FAILED",
            ":outcome": outcome,
            ":at": outcome["at"],
        },
    )
    if done:
        return outcome
    if row is None:
        raise Broken("the operation has no row")
    return row["outcome"]


def update(key: Row, expression: str, condition: str, names: tuple[str, ...], values: Row) -> Row:
    """An update that is done only if its condition holds."""
    return {
        "TableName": TABLE,
        "Key": to_item(key),
        "UpdateExpression": expression,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
        "ExpressionAttributeValues": to_item(values),
    }


def change(**write: Any) -> tuple[bool, Row | None]:
    """Does the update. Answers whether it was done, and if not, the row for which its condition does not hold."""

    def attempt() -> tuple[bool, Row | None]:
        try:
            dynamodb.update_item(
                **update(**write), ReturnValues="ALL_NEW", ReturnValuesOnConditionCheckFailure="ALL_OLD"
            )
        except dynamodb.exceptions.ConditionalCheckFailedException as error:
            item = error.response.get("Item")
            return False, from_item(item) if item else None
        except dynamodb.exceptions.TransactionConflictException as error:
            raise Conflict from error
        return True, None

    return retrying(attempt)


def events(message: Row, outcome: Row, old: Row | None) -> list[Row]:
    """The events of a bind, made of what is stored, so that they come out the same every time."""
    bind, card, code = message["instruction"]["bind"], message["instruction"]["card"], outcome.get("code")
    data = {name: bind[name] for name in ("account_id", "customer_id", "card_id")}
    data["card_status"] = outcome["card_status"] if code else "CREATED"
    if not code:
        data["card_previous_status"] = "UNBOUND"
    data |= {"card_name": "", "card_printed_name": ""}
    facts = ("program_id", "issuing_date", "expiration_date", "bulk_id", "external_id")
    data |= {name: card[name] for name in facts if name in card}
    data["operation_type"] = "REISSUE" if "reissued_card_id" in bind else "BIND"
    data["status"] = outcome["status"]
    if code:
        data |= {"message_code": code, "message": REFUSALS[code]}
    made = [event(message, outcome["at"], "bind_card", bind["card_id"], data)]
    if old:
        previous = old["previous_status"]
        data = {
            "account_id": bind["account_id"],
            "card_id": old["card_id"],
            "card_status": AFTER_REISSUE[previous],
            "card_previous_status": previous,
            "card_type": "PLASTIC",
            "card_name": "",
            "card_printed_name": None,
            "card_hash": None,
            "card_last_four_numbers": None,
            "activation_date": None,
            "contactless_enabled": old["contactless_enabled"],
            "operation_type": "REISSUE",
            "new_card_id": bind["card_id"],
        }
        made.append(event(message, outcome["at"], "update", old["card_id"], data))
    return made


def event(message: Row, at: str, event_type: str, item: int, data: Row) -> Row:
    """The envelope; the same for every repetition of one fact."""
    return {
        "event_id": str(uuid.uuid5(uuid.UUID(message["operation_id"]), f"{event_type}\n{item}")),
        "schema_version": 1,
        "domain": "cards",
        "event_type": event_type,
        "org_id": message["org_id"],
        "cid": message["cid"],
        "timestamp": at,
        "data": data,
    }
