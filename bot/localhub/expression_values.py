"""The values of workflow expressions: coercions, comparisons and the functions on them.

Promise: GitHub's documented rules. Loose equality compares unlike kinds as numbers and strings
without case; objects and arrays equal only themselves. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

Value = None | bool | float | str | Mapping[str, "Value"] | Sequence["Value"]


class ExpressionError(Exception):
    """The text is not an expression this hub can evaluate; the message quotes the offending part."""


def truthy(value: Value) -> bool:
    """GitHub's truth: false, 0, NaN, '' and null are false; objects and arrays are true."""
    if value is None or isinstance(value, (bool, str)):
        return bool(value)
    if isinstance(value, (int, float)):
        return value != 0 and not math.isnan(value)
    return True


def to_number(value: Value) -> float:
    if value is None:
        return 0.0
    if isinstance(value, (bool, int, float)):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        try:
            if text.lower().startswith("0x"):
                return float(int(text, 16))
            return float(text) if text else 0.0
        except ValueError:
            return math.nan
    return math.nan


def to_text(value: Value) -> str:
    """How a value looks inside a string: numbers without a needless fraction, objects by type."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    if isinstance(value, str):
        return value
    return "Object" if isinstance(value, Mapping) else "Array"


def _kind(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def equal(left: Value, right: Value) -> bool:
    """Loose equality: like kinds directly (strings without case), unlike kinds as numbers."""
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    kinds = (_kind(left), _kind(right))
    if "object" in kinds or "array" in kinds:
        return left is right
    return to_number(left) == to_number(right) if kinds[0] != kinds[1] else left == right


def compare(left: Value, right: Value, test: Callable[[float | str, float | str], bool]) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return test(left.lower(), right.lower())
    a, b = to_number(left), to_number(right)
    return False if math.isnan(a) or math.isnan(b) else test(a, b)


def _plain(value: Value) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


# --- functions ---


def _contains(args: Sequence[Value]) -> Value:
    where, what = args
    if isinstance(where, Sequence) and not isinstance(where, str):
        return any(equal(item, what) for item in where)
    return to_text(what).lower() in to_text(where).lower()


def _format(args: Sequence[Value]) -> Value:
    text, values = to_text(args[0]), args[1:]

    def fill(match: re.Match[str]) -> str:
        if match[0] in {"{{", "}}"}:
            return match[0][0]
        if match[1] is None or int(match[1]) >= len(values):
            raise ExpressionError(f"format(): bad placeholder {match[0]!r} in {text!r}")
        return to_text(values[int(match[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}|[{}]", fill, text)


def _join(args: Sequence[Value]) -> Value:
    separator = to_text(args[1]) if len(args) > 1 else ","
    if isinstance(args[0], Sequence) and not isinstance(args[0], str):
        return separator.join(to_text(item) for item in args[0])
    return to_text(args[0])


def _from_json(args: Sequence[Value]) -> Value:
    try:
        value: Value = json.loads(to_text(args[0]))
    except ValueError as error:
        raise ExpressionError(f"fromJSON(): not JSON: {error}") from error
    return value


FUNCTIONS: Final[Mapping[str, tuple[int, int, Callable[[Sequence[Value]], Value]]]] = {
    "contains": (2, 2, _contains),
    "startswith": (2, 2, lambda a: to_text(a[0]).lower().startswith(to_text(a[1]).lower())),
    "endswith": (2, 2, lambda a: to_text(a[0]).lower().endswith(to_text(a[1]).lower())),
    "format": (1, 255, _format),
    "join": (1, 2, _join),
    "tojson": (1, 1, lambda a: json.dumps(_plain(a[0]), indent=2, ensure_ascii=False)),
    "fromjson": (1, 1, _from_json),
}
