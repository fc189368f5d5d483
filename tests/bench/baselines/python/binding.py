"""The conditional writes of a bind, and the events that report its outcome."""

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
    get_operation,
    operation_key,
    retrying,
    timestamp,
    to_item,
    utc_now,
)
from message import Broken, Unexpected

BUSY_CODES = {
    "None",
    "ConditionalCheckFailed",
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
}


def apply(message: Row) -> tuple[str, list[Row]]:
    """Binds the card, stores the outcome on the operation if it has none, and returns it with its events."""
    org, operation, bind = message["org_id"], message["operation_id"], message["instruction"]["bind"]
    accepted_at, now = message["accepted_at"], utc_now()
    # The outcome must be published, which is possible only if the operation is known.
    known = get_operation(org, operation, now)
    if known is None or known["created_at"] != accepted_at:
        raise Broken("the operation has no row")
    # The common start of all of the operation's marks, which distinguishes them from other operations' marks.
    accepted, now = {"by": operation, "accepted_at": accepted_at}, timestamp(now)
    if "reissued_card_id" in bind:
        effect = retrying(lambda: reissue(org, accepted, bind, now))
    else:
        effect = bind_plain(org, accepted, bind, now)
    if "code" in effect:
        outcome = {"status": "FAILURE", "at": now, "code": effect["code"], "card_status": effect["card_status"]}
    else:
        outcome = {"status": "SUCCESS", "at": effect["at"]}
    outcome = end(org, operation, outcome)
    if (outcome["status"] == "FAILURE") != ("code" in effect):
        raise Unexpected("the stored outcome contradicts the card's marks")
    return outcome["status"], events(message, outcome, effect.get("replaced"))


def bind_plain(org: str, accepted: Row, bind: Row, now: str) -> Row:
    """Binds with one conditional write. Finds out whether this operation did it before, or why it is impossible."""
    done, card = change(**bind_change(org, accepted, bind, now))
    if done:
        return {"at": now}
    bound = card.get("bound", {}) if card else {}
    if is_mine(bound, accepted):
        return {"at": bound["at"]}
    try:
        check_card(card)
    except Refused as refused:
        return refusal(refused, card)
    raise Unexpected("DynamoDB refused a card that is UNBOUND")


def reissue(org: str, accepted: Row, bind: Row, now: str) -> Row:
    """Reads both cards, decides, and writes both at once on the condition that they have not changed since."""
    card = get(card_key(org, bind["card_id"]))
    old = get(card_key(org, bind["reissued_card_id"]))
    before = reissued_before(accepted, card, old)
    if before:
        return before
    try:
        check_card(card)
        status = check_reissued(old, bind)
    except Refused as refused:
        return refusal(refused, card)
    mark = {**accepted, "at": now, "new_card_id": bind["card_id"], "previous_status": old["status"]}
    writes = [bind_change(org, accepted, bind, now), replace_change(org, bind, status, mark)]
    try:
        dynamodb.transact_write_items(TransactItems=[{"Update": update(**write)} for write in writes])
    except dynamodb.exceptions.TransactionCanceledException as error:
        if all(reason["Code"] in BUSY_CODES for reason in error.response["CancellationReasons"]):
            raise Conflict from error
        raise
    return {"at": now, "replaced": replaced(old, old["status"])}


def reissued_before(accepted: Row, card: Row | None, old: Row | None) -> Row | None:
    """Returns what this reissue did before, if it did. Raises a conflict if only one of its marks is visible yet."""
    bound, mark = card.get("bound", {}) if card else {}, old.get("replaced", {}) if old else {}
    mine = is_mine(bound, accepted), is_mine(mark, accepted)
    if all(mine):
        return {"at": bound["at"], "replaced": replaced(old, mark["previous_status"])}
    if any(mine) or (card and not bound and mark.get("new_card_id") == card["card_id"]):
        raise Conflict
    return None


def is_mine(mark: Row, accepted: Row) -> bool:
    """Returns whether this operation left the mark, with the same time of acceptance."""
    return accepted.items() <= mark.items()


def refusal(refused: Refused, card: Row | None) -> Row:
    """Returns the refusal of a card without the operation's mark. A missing card was last known as UNBOUND."""
    return {"code": str(refused), "card_status": card["status"] if card else "UNBOUND"}


def replaced(card: Row, previous_status: str) -> Row:
    """Returns what an event reports of the replaced card."""
    names = ("card_id", "contactless_enabled", "program_id", "issuing_date", "expiration_date")
    return {"previous_status": previous_status, **{name: card[name] for name in names}}


def bind_change(org: str, accepted: Row, bind: Row, now: str) -> Row:
    """Returns the change UNBOUND → CREATED, with the mark."""
    mark = {**accepted, "at": now, **{name: bind[name] for name in bind if name != "card_id"}}
    return {
        "key": card_key(org, bind["card_id"]),
        "expression": "SET #status = :created, #bound = :mark",
        "condition": "#status = :unbound AND attribute_not_exists(#bound)",
        "names": ("status", "bound"),
        "values": {":unbound": "UNBOUND", ":created": "CREATED", ":mark": mark},
    }


def replace_change(org: str, bind: Row, status: str, mark: Row) -> Row:
    """Returns the change from the status that was read to the status of a replaced card, with the mark."""
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
    """Ends the operation with this outcome, unless it has one already. Returns the first, which never changes."""
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
    """Returns the parameters of a conditional update."""
    return {
        "TableName": TABLE,
        "Key": to_item(key),
        "UpdateExpression": expression,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {f"#{name}": name for name in names},
        "ExpressionAttributeValues": to_item(values),
    }


def change(**write: Any) -> tuple[bool, Row | None]:
    """Makes the update. Returns whether the condition held, and if not, the row."""

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
    """Returns the events of a bind, made from stored values, so that they are the same every time."""
    bind, card, code = message["instruction"]["bind"], message["instruction"]["card"], outcome.get("code")
    data = {name: bind[name] for name in ("account_id", "customer_id", "card_id")}
    data["card_status"] = outcome["card_status"] if code else "CREATED"
    if not code:
        data["card_previous_status"] = "UNBOUND"
    data |= {"card_name": "", "card_printed_name": ""}
    facts = ("program_id", "issuing_date", "expiration_date", "bulk_id", "external_id")
    data |= {name: card[name] for name in facts if name in card}
    data["operation_type"] = "BIND_REISSUE" if "reissued_card_id" in bind else "BIND_NONAME"
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
            "operation_type": "BIND_REISSUE",
            "new_card_id": bind["card_id"],
            "program_id": old["program_id"],
            "issuing_date": old["issuing_date"],
            "expiration_date": old["expiration_date"],
            "status": "SUCCESS",
        }
        made.append(event(message, outcome["at"], "update", old["card_id"], data))
    return made


def event(message: Row, at: str, event_type: str, item: int, data: Row) -> Row:
    """Returns the envelope, which is the same for every repetition of one fact."""
    name = f"{message['accepted_at']}\n{event_type}\n{item}"
    return {
        "event_id": str(uuid.uuid5(uuid.UUID(message["operation_id"]), name)),
        "schema_version": 1,
        "domain": "cards",
        "event_type": event_type,
        "org_id": message["org_id"],
        "cid": message["cid"],
        "timestamp": at,
        "data": data,
    }
