"""Evaluates the alarms on metric math, which the emulator does not: an expression, minute by minute, and the state.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html has the rules: a missing value
counts as 0 next to a value, a division by zero has no result, and a missing result does not breach here.
"""

import ast
import json
import operator
import os
import re
from pathlib import Path
from typing import Any

from checks import check

Series = list[float | None]

TEMPLATE = Path(os.environ["BINDERY_LOCAL_DIR"]) / "template.json"
OPERATORS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
}
# An alarm's state without its cause, with it, and after it.
QUIET, CAUSE, END = "OK", "ALARM", "OK"
# Alarms, with the state that they must have after these values of their metrics, one for each period.
CASES: list[tuple[str, str, dict[str, Series]]] = [
    # The issuer is broken: with hardly any traffic, with much and a few cached keys, and with an idle canary.
    ("api-turned-away", CAUSE, {"refused": [20], "admitted": [0]}),
    ("api-turned-away", CAUSE, {"refused": [20], "admitted": [None]}),
    ("api-turned-away", CAUSE, {"refused": [5000], "admitted": [49]}),
    # One client in a loop, once a second, at night, next to a canary. Expired tokens. Silence.
    ("api-turned-away", QUIET, {"refused": [300], "admitted": [5]}),
    ("api-turned-away", QUIET, {"refused": [5000], "admitted": [50]}),
    ("api-turned-away", QUIET, {"refused": [19], "admitted": [0]}),
    ("api-turned-away", QUIET, {"refused": [None], "admitted": [None]}),
    ("api-turned-away", END, {"refused": [300, 0], "admitted": [0, 10]}),
    ("api-limited", QUIET, {"throttled": [19, 19], "admitted": [0, 0]}),
    ("api-limited", QUIET, {"throttled": [50, 50], "admitted": [950, 950]}),
    ("api-limited", CAUSE, {"throttled": [60, 60], "admitted": [940, 940]}),
    ("api-limited", END, {"throttled": [60, 60, 0], "admitted": [940, 940, 1000]}),
    ("api-mostly-limited", QUIET, {"throttled": [500], "admitted": [500]}),
    ("api-mostly-limited", CAUSE, {"throttled": [501], "admitted": [499]}),
    ("api-mostly-limited", END, {"throttled": [501, 0], "admitted": [499, 0]}),
    ("api-mostly-failing", QUIET, {"failed": [3], "requests": [3]}),
    ("api-mostly-failing", QUIET, {"failed": [500], "requests": [1000]}),
    ("api-mostly-failing", CAUSE, {"failed": [4], "requests": [4]}),
    ("api-mostly-failing", END, {"failed": [4, None], "requests": [4, None]}),
    ("api-errors", QUIET, {"failed": [1, 1, 1], "requests": [2, 100, 2]}),
    ("api-errors", CAUSE, {"failed": [2, 0, 20], "requests": [2, 100, 1000]}),
    ("api-errors", END, {"failed": [20, 0, 0], "requests": [1000, 1000, 1000]}),
    ("table-throttled", QUIET, {"reads": [200, 200, 50, 200, 200], "writes": [0, 0, 50, 0, 0]}),
    ("table-throttled", CAUSE, {"reads": [60] * 5, "writes": [60] * 5}),
    ("table-throttled", END, {"reads": [60] * 5 + [None], "writes": [60] * 5 + [100]}),
    ("bind-card-slow", QUIET, {"duration": [7, 9000, 7, 9000, 7]}),
    ("bind-card-slow", CAUSE, {"duration": [9000, 9000, 7, 9000, 7]}),
    ("bind-card-slow", END, {"duration": [9000, 7, 7, 9000, 7]}),
    # deployment.py has more of these.
    ("bind-card-crashes", QUIET, {"errors": [2], "runs": [40]}),
    ("bind-card-crashes", CAUSE, {"errors": [3], "runs": [30]}),
    ("bind-card-crashes", END, {"errors": [3, 0], "runs": [30, 30]}),
    # The first dead letter of a queue that had no metrics, and another one while old ones lie there.
    ("bind-card-new-dead-letters", CAUSE, {"visible": [None] * 8 + [1], "hidden": [None] * 8 + [0]}),
    ("bind-card-new-dead-letters", CAUSE, {"visible": [3, 3, 3, 3, 4], "hidden": [0] * 5}),
    ("bind-card-new-dead-letters", CAUSE, {"visible": [3, 3, 4, None], "hidden": [0, 0, 0, None]}),
    # Old ones lie there, are listed, or redriven. Five minutes later, the alarm waits for the next letter.
    ("bind-card-new-dead-letters", QUIET, {"visible": [3] * 8, "hidden": [0] * 8}),
    ("bind-card-new-dead-letters", QUIET, {"visible": [3, 3, None, 3, 3], "hidden": [0, 0, None, 0, 0]}),
    ("bind-card-new-dead-letters", QUIET, {"visible": [3, 0, 3, 3], "hidden": [0, 3, 0, 0]}),
    ("bind-card-new-dead-letters", QUIET, {"visible": [3, 2, 0, 0], "hidden": [0, 0, 0, 0]}),
    ("bind-card-new-dead-letters", END, {"visible": [3, 4, 4, 4, 4, 4, 4], "hidden": [0] * 7}),
]


def alarms() -> dict[str, dict[str, Any]]:
    """Returns the properties of the template's alarms on metric math, by the alarm's name without the stack's."""
    resources = json.loads(TEMPLATE.read_text())["Resources"].values()
    computed = [one["Properties"] for one in resources if "Metrics" in one["Properties"]]
    return {one["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-"): one for one in computed}


def expression(alarm: dict[str, Any]) -> dict[str, Any]:
    """Returns the alarm's expression, with its label."""
    return next(one for one in alarm["Metrics"] if "Expression" in one)


def value(alarm: dict[str, Any], inputs: dict[str, Series], at: int) -> float | None:
    """Returns the value of the alarm's expression in this period."""
    text = expression(alarm)["Expression"]
    text = text if isinstance(text, str) else text["Fn::Sub"].replace("${FunctionTimeout}", "10")
    text = re.sub(r"\bAND\b", "and", re.sub(r"\bOR\b", "or", text))
    return _value(ast.parse(text, mode="eval").body, inputs, at)


def _value(node: ast.expr, inputs: dict[str, Series], at: int) -> float | None:
    def of(part: ast.expr, then: int = at) -> float | None:
        return _value(part, inputs, then)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return inputs[node.id][at] if at >= 0 else None
        case ast.BinOp(left, op, right) | ast.Compare(left, [op], [right]):
            values = (of(left), of(right))
            is_scalar = [isinstance(part, ast.Constant) for part in (left, right)]
            if all(one is None or scalar for one, scalar in zip(values, is_scalar, strict=True)) and None in values:
                return None
            one, other = (value or 0 for value in values)
            return None if isinstance(op, ast.Div) and other == 0 else float(OPERATORS[type(op)](one, other))
        case ast.BoolOp(op, parts):
            holds = [bool(of(part)) for part in parts]
            return float(all(holds) if isinstance(op, ast.And) else any(holds))
        case ast.Call(ast.Name("IF"), [condition, then, otherwise]):
            return of(then) if of(condition) else of(otherwise)
        case ast.Call(ast.Name("FILL"), [part, ast.Name("REPEAT")]):
            known = (of(part, then) for then in range(at, -1, -1))
            return next((one for one in known if one is not None), None)
        case ast.Call(ast.Name("FILL"), [part, filler]):
            return filler_or(of(part), of(filler))
        case ast.Call(ast.Name("DIFF"), [part]):
            now, before = of(part), of(part, at - 1) if at > 0 else None
            return None if now is None or before is None else now - before
        case ast.Call(ast.Name("SUM"), [ast.Call(ast.Name("METRICS"), [])]):
            found = [series[at] for series in inputs.values()]
            return None if all(one is None for one in found) else sum(one or 0 for one in found)
    raise SystemExit(f"FAILED: alarm_math.py does not know {ast.unparse(node)}")


def filler_or(known: float | None, filler: float | None) -> float | None:
    """Returns the known value, or else the filler."""
    return filler if known is None else known


def state(alarm: dict[str, Any], inputs: dict[str, Series]) -> str:
    """Returns the alarm's state after these periods."""
    assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == ("GreaterThanThreshold", "notBreaching"), alarm
    length = max(len(series) for series in inputs.values())
    last = range(max(0, length - alarm["EvaluationPeriods"]), length)
    values = [value(alarm, inputs, at) for at in last]
    breaching = sum(one is not None and one > alarm["Threshold"] for one in values)
    return "ALARM" if breaching >= alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]) else "OK"


def every_expression_fires_and_ends() -> None:
    """Checks the state of each kind of alarm on metric math: before its cause, with it, and after it."""
    known = alarms()
    kinds = {expression(known[name])["Label"] for name, _, _ in CASES}
    check("each kind of computed alarm has cases", kinds == {expression(one)["Label"] for one in known.values()})
    for name in dict.fromkeys(name for name, _, _ in CASES):
        wanted = [(expected, inputs) for one, expected, inputs in CASES if one == name]
        found = [(state(known[name], inputs), inputs) for _, inputs in wanted]
        check(f"{name} fires by its causes only", found == wanted or print(found))
        check("and has cases of both states", {expected for expected, _ in wanted} == {QUIET, CAUSE})


if __name__ == "__main__":
    every_expression_fires_and_ends()
