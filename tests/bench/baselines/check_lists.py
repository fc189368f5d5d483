"""Lists all cases of the check."""

import base64
import hashlib
import json

from check_cases import (
    ACCOUNT,
    CARD,
    CUSTOMER,
    OLD,
    ORG,
    OTHER,
    RECENTLY,
    Case,
    Row,
    batch,
    bound,
    card,
    error,
    failing,
    message,
    operation,
    operation_id,
    plain,
    replaced,
    request,
)

THROTTLED = error("ThrottlingException")
INVALID = error("ValidationException")
CONFLICT = error("TransactionConflictException")
CANCELED = error(
    "TransactionCanceledException", CancellationReasons=[{"Code": "None"}, {"Code": "TransactionConflict"}]
)
FAILED_ENTRY = (200, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "no"}]})
HALF_FAILED = (200, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}, {"EventId": "e"}]})

# The condition fails, and the row does not exist, or seems to fulfill it.
NO_ROW = error("ConditionalCheckFailedException")
STILL_UNBOUND = error("ConditionalCheckFailedException", Item=card())

UNBOUND, BOUND = card(), card(status="CREATED", **bound())
MINE = operation_id("k")
# The fingerprint of `request()`.
ASKED = json.dumps(["bind-card", {"card_id": CARD, "account_id": ACCOUNT, "customer_id": CUSTOMER}])
FINGERPRINT = base64.urlsafe_b64encode(hashlib.sha256(ASKED.replace(" ", "").encode()).digest()).rstrip(b"=").decode()


def endpoint_cases() -> list[Case]:
    """Returns the cases of the endpoint."""
    recorded = operation(MINE, FINGERPRINT)
    reissue = {"reissued_card_id": OLD}
    old = card(OLD, "NORMAL", **bound())
    other_account = {"tenant_id": ORG, "account_id": "4002", "scope": "cards:write"}
    binds_alone = {"tenant_id": ORG, "account_id": str(ACCOUNT), "scope": "cards:read cards:bind"}
    encoded = {"body": base64.b64encode(json.dumps(reissue).encode()).decode(), "isBase64Encoded": True}
    utf_16 = {"body": base64.b64encode("{}".encode("utf-16")).decode(), "isBase64Encoded": True}
    wrong_claims = {
        "no scope": {"tenant_id": ORG, "account_id": str(ACCOUNT), "scope": "cards:writer"},
        "no tenant": {"account_id": str(ACCOUNT), "scope": "cards:write"},
        "invalid tenant": {"tenant_id": f"{ORG}#CARD", "account_id": str(ACCOUNT), "scope": "cards:write"},
        "no account": {"tenant_id": ORG, "scope": "cards:write"},
        "foreign account": {"tenant_id": ORG, "account_id": "4002", "scope": "cards:write"},
        "no claims": False,
    }
    wrong_headers = {
        "none": {"x_account_id": None, "x_customer_id": None},
        "no account": {"x_account_id": None},
        "invalid account": {"x_account_id": "+4001"},
        "zero customer": {"x_customer_id": "0"},
        "two customers": {"x_customer_id": "7001, 7002"},
        "huge customer": {"x_customer_id": 2**53},
        "invalid cid": {"x_correlation_id": "ä"},
        "long cid": {"x_correlation_id": "c" * 256},
        "empty key": {"key": '""'},
        "two keys": {"key": "a, b"},
        "open key": {"key": '"k'},
        "long key": {"key": "k" * 256},
        "no type": {"content_type": None, "body": "{}"},
        "other type": {"content_type": "text/plain", "body": "{}"},
    }
    wrong_bodies = {
        "not JSON": "{a}",
        "cut off": '{"a":',
        "space": "  ",
        "trailing": "{} {}",
        "NaN": '{"a": NaN}',
        "array": "[]",
        "text": '"{}"',
        "two marks": "\ufeff\ufeff{}",
        "large": " " * 65_537,
        "deep": '{"a":' + "[" * 60_000,
        "reissued 0": {"reissued_card_id": 0},
        "reissued text": {"reissued_card_id": "1002"},
        "reissued true": {"reissued_card_id": True},
        "reissued fraction": {"reissued_card_id": 1.5},
        "reissued huge": {"reissued_card_id": 2**53},
        "reissued huge, with a fraction": '{"reissued_card_id": 9007199254740993.0}',
        "reissued huge, with an exponent": '{"reissued_card_id": 1e300}',
        "reissued itself": {"reissued_card_id": CARD},
    }
    unusual_bodies = {
        "empty": "",
        "null": "null",
        "a mark": "\ufeff",
        "marked null": "\ufeff null ",
        "marked": "\ufeff" + json.dumps(reissue),
        "reissued null": {"reissued_card_id": None},
        "reissued with a fraction": f'{{"reissued_card_id": {OLD}.0}}',
        "reissued with an exponent": f'{{"reissued_card_id": {OLD}e0}}',
    }
    wrong_old = {
        "none": [],
        "foreign": [card(OLD, "NORMAL", **bound(account=4002))],
        "unbound": [card(OLD)],
        "ended": [card(OLD, "LOST", **bound())],
        "replaced": [card(OLD, "BLOCKED", **bound(), **replaced("0192d1c0-0000-7000-8000-000000000003"))],
    }
    return [
        Case("without a key", [UNBOUND], [request(key=None)]),
        Case("without a cid", [UNBOUND], [request(x_correlation_id=None)]),
        Case("with a key", [UNBOUND], [request()]),
        Case("with a structured key", [UNBOUND], [request(key=r'"a \"b\" \\ c"')]),
        Case("a card without a bulk", [plain(UNBOUND)], [request(body={}, content_type="Application/JSON; charset=x")]),
        Case("repeated", [UNBOUND], [request(), request(key='"k"')]),
        Case("repeated in other words", [UNBOUND], [request(), request(body="null"), request(body={"a": None})]),
        Case(
            "a reissue repeated in other words",
            [UNBOUND, old],
            [request(body=reissue), request(body=f'{{"reissued_card_id": {OLD}.0}}')],
        ),
        Case("repeated with another card", [UNBOUND], [request(), request(card_id=OLD)]),
        Case("repeated with an unknown member", [UNBOUND], [request(), request(body={"a": [{"b": 1.5}]})]),
        Case("repeated, bound meanwhile", [BOUND, recorded], [request()]),
        Case("repeated, ended", [BOUND, operation(MINE, FINGERPRINT, state="SUCCEEDED")], [request()]),
        Case("repeated, expired", [UNBOUND, operation(MINE, "other", expires_at=1)], [request()]),
        Case("recorded in between", [UNBOUND], [request()], between={("PutItem", 1): [recorded]}),
        Case("refused by itself", [BOUND], [request()], between={("GetItem", 2): [recorded]}),
        Case(
            "the same key of another account", [UNBOUND, recorded], [request(x_account_id=4002, claims=other_account)]
        ),
        *gone_cases(recorded),
        Case("no card", [], [request()]),
        Case("a bound card", [BOUND], [request()]),
        Case("a bound card that looks unbound", [card(**bound())], [request(key=None)]),
        Case("a canceled card", [card(status="CANCELED")], [request()]),
        Case("a reissue", [UNBOUND, old], [request(body=reissue)]),
        Case("a reissue in Base64", [UNBOUND, old], [{**request(), **encoded}]),
        Case("a body in UTF-16", [UNBOUND], [{**request(), **utf_16}]),
        Case(
            "reissued when rounded",
            [UNBOUND],
            [request(body='{"reissued_card_id": 1002.00000000000000001}')],
            but=("node",),
        ),
        Case("a member twice", [UNBOUND], [request(body='{"a":1,"a":1}')], but=("node",)),
        *(Case(f"claims: {name}", [UNBOUND], [request(claims=claims)]) for name, claims in wrong_claims.items()),
        Case("claims: bind alone", [UNBOUND], [request(claims=binds_alone)]),
        *(Case(f"headers: {name}", [UNBOUND], [request(**headers)]) for name, headers in wrong_headers.items()),
        *(Case(f"body: {name}", [UNBOUND], [request(body=body)]) for name, body in wrong_bodies.items()),
        *(Case(f"unusual body: {name}", [UNBOUND, old], [request(body=body)]) for name, body in unusual_bodies.items()),
        *(Case(f"path: {text}", [UNBOUND], [request(card_id=text)]) for text in ("x", "0", "-1", "", 2**53)),
        *(Case(f"reissued: {name}", [UNBOUND, *rows], [request(body=reissue)]) for name, rows in wrong_old.items()),
        Case("everything wrong", [], [request(card_id="x", body={**reissue, "reissued_card_id": 0}, x_account_id="")]),
        Case("GetItem throttled once", [UNBOUND], [request()], failing("GetItem", THROTTLED, None)),
        Case("GetItem throttled", [UNBOUND], [request()], failing("GetItem", THROTTLED)),
        Case("PutItem throttled", [UNBOUND], [request()], failing("PutItem", THROTTLED)),
        Case("PutItem invalid", [UNBOUND], [request()], failing("PutItem", INVALID)),
        Case("SendMessage failing", [UNBOUND], [request()], failing("SendMessage", error("InternalFailure", 500))),
    ]


def gone_cases(recorded: Row) -> list[Case]:
    """Returns the cases of an operation whose row is gone, and of a card whose mark shows what it did."""
    done = bound(MINE, accepted_at=RECENTLY)
    reissued = card(status="CREATED", **bound(MINE, accepted_at=RECENTLY, reissued_card_id=OLD))
    replaced_old = card(OLD, "REISSUED", **bound(), **replaced(MINE, RECENTLY))
    not_this = {
        "long ago": card(status="CREATED", **bound(MINE)),
        "by another": card(status="CREATED", **bound(accepted_at=RECENTLY)),
        "for another account": card(status="CREATED", **bound(MINE, 4002, RECENTLY)),
        "for another customer": card(status="CREATED", **bound(MINE, accepted_at=RECENTLY, customer_id=7002)),
        "with another card replaced": reissued,
    }
    return [
        Case("carried out, and gone", [card(status="CREATED", **done)], [request(), request()]),
        Case("carried out, and gone; blocked since", [card(status="BLOCKED", **done)], [request()]),
        Case("carried out, and gone; a reissue", [reissued, replaced_old], [request(body={"reissued_card_id": OLD})]),
        Case(
            "carried out, and gone; recorded in between",
            [card(status="CREATED", **done)],
            [request()],
            between={("PutItem", 1): [recorded]},
        ),
        *(Case(f"carried out {name}, and gone", [row], [request()]) for name, row in not_this.items()),
    ]


def worker_cases() -> list[Case]:
    """Returns the cases of the worker."""
    ours = message()
    id = ours["operation_id"]
    started, done = operation(id), card(status="CREATED", **bound(id))
    reissue, old = message(reissued=OLD), card(OLD, "NORMAL", **bound())
    both = [UNBOUND, old, started]
    three = [message(f"0192d1c0-0000-7000-8000-00000000010{n}", card_id=2000 + n) for n in range(3)]
    rows = [card(2000), card(2001), *(operation(one["operation_id"]) for one in three)]
    ten = [message(f"0192d1c0-0000-7000-8000-00000000020{n}", card_id=3000 + n) for n in range(10)]
    ten_rows = [row for n, one in enumerate(ten) for row in (card(3000 + n), operation(one["operation_id"]))]
    unreadable: dict[str, Row | str] = {
        "not JSON": "{a}",
        "two marks": "\ufeff\ufeff" + json.dumps(ours),
        "an array": [],
        "unknown member": {**ours, "more": 1},
        "missing member": {name: value for name, value in ours.items() if name != "cid"},
        "version": {**ours, "version": 2},
        "tenant": {**ours, "org_id": "TN-1"},
        "operation": {**ours, "operation_id": "1"},
        "time": {**ours, "accepted_at": "yesterday"},
        "card": {**ours, "instruction": {**ours["instruction"], "card": {}}},
        "date": {**ours, "instruction": {**ours["instruction"], "card": {**ours["instruction"]["card"],
                 "issuing_date": "2026-02-30T00:00:00Z"}}},
        "date alone": {**ours, "instruction": {**ours["instruction"], "card": {**ours["instruction"]["card"],
                       "issuing_date": "2026-01-31"}}},
        "time of day": {**ours, "instruction": {**ours["instruction"], "card": {**ours["instruction"]["card"],
                        "expiration_date": "2032-01-31T00:00:01Z"}}},
        "card ID": {**ours, "instruction": {**ours["instruction"], "bind": {**ours["instruction"]["bind"],
                    "card_id": "1001"}}},
        "external ID": {**ours, "instruction": {**ours["instruction"], "card": {**ours["instruction"]["card"],
                        "external_id": "x" * 256}}},
    }  # fmt: skip
    reissued = card(status="CREATED", **bound(id, reissued_card_id=OLD))
    replaced_before = card(OLD, "REISSUED", **bound(), **replaced(id))
    return [
        Case("a bind", [UNBOUND, started], [batch(ours)]),
        Case("a bind after a mark", [UNBOUND, started], [batch("\ufeff" + json.dumps(ours))]),
        Case("a bind, delivered twice", [UNBOUND, started], [batch(ours), batch(ours)]),
        Case("a bind of before", [done, started], [batch(ours)]),
        Case("a bind of before, later blocked", [card(status="BLOCKED", **bound(id)), started], [batch(ours)]),
        Case("a bound card", [BOUND, started], [batch(ours), batch(ours)]),
        Case("no card", [started], [batch(ours)]),
        Case(
            "a time written otherwise",
            [UNBOUND, started],
            [batch({**ours, "accepted_at": "2025-10-09T10:53:20+02:00"})],
        ),
        *acceptance_cases(),
        Case("a reissue", both, [batch(reissue), batch(reissue)]),
        *(
            Case(
                f"a reissue of a card that is {status}",
                [UNBOUND, card(OLD, status, **bound()), started],
                [batch(reissue)],
            )
            for status in ("CREATED", "BLOCKED", "WARNING", "LOST", "REISSUED", "UNBOUND")
        ),  # fmt: skip
        Case("a reissue of before", [reissued, replaced_before, started], [batch(reissue)]),
        *half_seen_cases(),
        Case("a reissue of none", [UNBOUND, started], [batch(reissue)]),
        Case("a reissue of a foreign card", [UNBOUND, card(OLD, **bound(account=1)), started], [batch(reissue)]),
        Case("a reissue by a bound card", [BOUND, old, started], [batch(reissue)]),
        Case("a reissue in conflict", both, [batch(reissue)], failing("TransactWriteItems", CANCELED, CANCELED, None)),
        Case("a reissue in conflict for long", both, [batch(reissue)], failing("TransactWriteItems", CANCELED)),
        Case("a bind in conflict", [UNBOUND, started], [batch(ours)], failing("UpdateItem", CONFLICT, CONFLICT, None)),
        Case("a bind in conflict for long", [UNBOUND, started], [batch(ours)], failing("UpdateItem", CONFLICT)),
        Case("three, one without a card", rows, [batch(*three)]),
        Case("ten, two refused, and broken ones", ten_rows, [batch(*ten, *ten[:2], "x", {"version": 1})]),
        *(Case(f"unreadable: {name}", [UNBOUND, started], [batch(body)]) for name, body in unreadable.items()),
        Case("DynamoDB throttles the first read", [UNBOUND, started], [batch(ours)], failing("GetItem", THROTTLED)),
        Case("DynamoDB throttles", [UNBOUND, started], [batch(ours)], failing("UpdateItem", THROTTLED)),
        Case("the last try", [UNBOUND, started], [batch(ours, receive_count=5)], failing("UpdateItem", THROTTLED)),
        Case("DynamoDB refuses", [UNBOUND, started], [batch(ours)], failing("UpdateItem", INVALID)),
        Case("an event fails once", [UNBOUND, started], [batch(ours)], failing("PutEvents", FAILED_ENTRY, None)),
        Case("an event fails", [UNBOUND, started], [batch(ours)], failing("PutEvents", FAILED_ENTRY)),
        Case("half of the events fail", both, [batch(reissue)], failing("PutEvents", HALF_FAILED, FAILED_ENTRY)),
        Case("the bus is down", [UNBOUND, started], [batch(ours)], failing("PutEvents", error("InternalFailure", 500))),
        Case("dead-lettering fails", [], [batch("x")], failing("SendMessage", error("InternalFailure", 500))),
    ]


def acceptance_cases() -> list[Case]:
    """Returns the cases of an operation that is missing, was accepted at another time, or contradicts the card."""
    ours, reissue = message(), message(reissued=OLD)
    id = ours["operation_id"]
    started, done, old = operation(id), card(status="CREATED", **bound(id)), card(OLD, "NORMAL", **bound())
    failed = {"status": "FAILURE", "at": "2025-10-10T00:00:00.000Z", "code": "CARD_NOT_FOUND", "card_status": "UNBOUND"}
    ended = operation(id, state="FAILED", outcome=failed, ended_at=failed["at"])
    bound_otherwise = card(status="CREATED", **bound(id, accepted_at=RECENTLY))
    reissued_otherwise = card(status="CREATED", **bound(id, accepted_at=RECENTLY, reissued_card_id=OLD))
    replaced_otherwise = card(OLD, "REISSUED", **bound(), **replaced(id, RECENTLY))
    return [
        Case("no operation", [UNBOUND], [batch(ours)]),
        Case("no operation, and a reissue", [UNBOUND, old], [batch(reissue)]),
        Case("no operation, and carried out", [done], [batch(ours)]),
        Case("an operation of another time", [UNBOUND, operation(id, created_at=RECENTLY)], [batch(ours)]),
        Case("an expired operation", [UNBOUND, operation(id, expires_at=1)], [batch(ours)]),
        Case("an operation gone in between", [UNBOUND, started], [batch(ours)], failing("UpdateItem", None, NO_ROW)),
        Case("bound by another acceptance", [bound_otherwise, started], [batch(ours)]),
        Case("reissued by another acceptance", [reissued_otherwise, replaced_otherwise, started], [batch(reissue)]),
        Case("refused before", [BOUND, ended], [batch(ours)]),
        *(Case(f"a contradiction, delivery {n}", [done, ended], [batch(ours, receive_count=n)]) for n in (1, 2, 3, 5)),
        *(
            Case(
                f"refused though UNBOUND, delivery {n}",
                [UNBOUND, started],
                [batch(ours, receive_count=n)],
                failing("UpdateItem", STILL_UNBOUND),
            )
            for n in (1, 2, 3, 5)
        ),
    ]


def half_seen_cases() -> list[Case]:
    """Returns the cases of a reissue that is half visible: one card shows its mark, and the other does not yet."""
    reissue, old = message(reissued=OLD), card(OLD, "NORMAL", **bound())
    id = reissue["operation_id"]
    started = operation(id)
    reissued = card(status="CREATED", **bound(id, reissued_card_id=OLD))
    replaced_before = card(OLD, "REISSUED", **bound(), **replaced(id))
    reissued_by_other = card(status="CREATED", **bound(reissued_card_id=OLD))
    replaced_by_other = card(OLD, "REISSUED", **bound(), **replaced(OTHER))
    # The rows that are visible first, and those that become visible later.
    half_seen = {
        "the new card's half": ([reissued, old], [replaced_before]),
        "the old card's half": ([UNBOUND, replaced_before], [reissued]),
        "another's half": ([UNBOUND, replaced_by_other], [reissued_by_other]),
    }
    return [
        # The operation is read first, then both cards. The fourth call reads the cards again.
        *(
            Case(f"{name} seen", [*seen, started], [batch(reissue)], between={("GetItem", 4): then})
            for name, (seen, then) in half_seen.items()
        ),
        *(Case(f"{name} seen for long", [*seen, started], [batch(reissue)]) for name, (seen, _) in half_seen.items()),
        Case("half seen, the last try", [UNBOUND, replaced_before, started], [batch(reissue, receive_count=5)]),
    ]
