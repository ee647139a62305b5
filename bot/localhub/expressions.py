"""`${{ }}` expressions as GitHub Actions evaluates them.

Promise: the documented operators, literals, coercions (loose equality, strings compared without
case, `&&`/`||` give an operand back) and the functions in `FUNCTIONS`. Everything else (an unknown
function or context, `hashFiles`, `matrix`) is an `ExpressionError` when the text is parsed, before
anything runs. Pure: the only inputs are the text and the `Scope`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bot.localhub.expression_values import (
    FUNCTIONS,
    ExpressionError,
    Value,
    compare,
    equal,
    to_number,
    to_text,
    truthy,
)

CONTEXTS: Final = frozenset({"github", "inputs", "env", "vars", "secrets", "needs", "steps", "job", "runner"})
STATUS_FUNCTIONS: Final = frozenset({"success", "failure", "always", "cancelled"})


@dataclass(frozen=True)
class Scope:
    """What an expression sees: contexts by name, and how the job or its needs are doing."""

    contexts: Mapping[str, Value] = field(default_factory=dict)
    failed: bool = False
    cancelled: bool = False
    skipped: bool = False
    """A job this one needs (directly or not) was skipped."""

    @property
    def succeeded(self) -> bool:
        return not self.failed and not self.cancelled and not self.skipped


@dataclass(frozen=True)
class Expression:
    """A parsed expression: the text, what it refers to, and how to evaluate it."""

    text: str
    contexts: frozenset[str]
    secrets: frozenset[str]
    functions: frozenset[str]
    evaluate: Callable[[Scope], Value]


_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*')|(?P<number>0x[0-9a-fA-F]+|[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
    r"|(?P<name>[A-Za-z_][\w-]*)|(?P<op>&&|\|\||==|!=|<=|>=|[<>!()\[\],.*]))"
)
_Eval = Callable[[Scope], Value]
_COMPARISONS: Final[Mapping[str, Callable[[Value, Value], bool]]] = {
    "==": equal,
    "!=": lambda a, b: not equal(a, b),
    "<": lambda a, b: compare(a, b, operator.lt),
    "<=": lambda a, b: compare(a, b, operator.le),
    ">": lambda a, b: compare(a, b, operator.gt),
    ">=": lambda a, b: compare(a, b, operator.ge),
}


class _Parser:
    """Recursive descent over the token list; precedence `||` < `&&` < comparisons < `!` < index."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._scan(text))
        self.at = 0
        self.contexts: set[str] = set()
        self.secrets: set[str] = set()
        self.functions: set[str] = set()

    def _scan(self, text: str) -> Iterator[tuple[str, str]]:
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise ExpressionError(f"unexpected {text[at:].strip()[:20]!r} in {text.strip()!r}")
            yield match.lastgroup, match[match.lastgroup]
            at = match.end()

    def take(self, *wanted: str) -> str | None:
        if self.at < len(self.tokens):
            kind, text = self.tokens[self.at]
            if kind == "op" and text in wanted:
                self.at += 1
                return text
        return None

    def expect(self, wanted: str) -> None:
        if self.take(wanted) is None:
            raise ExpressionError(f"expected {wanted!r} in {self.text.strip()!r}")

    def parse(self) -> _Eval:
        result = self.either()
        if self.at != len(self.tokens):
            raise ExpressionError(f"unexpected {self.tokens[self.at][1]!r} in {self.text.strip()!r}")
        return result

    def either(self) -> _Eval:
        left = self.both()
        while self.take("||"):
            left = _or(left, self.both())
        return left

    def both(self) -> _Eval:
        left = self.comparison()
        while self.take("&&"):
            left = _and(left, self.comparison())
        return left

    def comparison(self) -> _Eval:
        left = self.unary()
        while operator := self.take(*_COMPARISONS):
            left = _binary(_COMPARISONS[operator], left, self.unary())
        return left

    def unary(self) -> _Eval:
        if self.take("!"):
            inner = self.unary()
            return lambda scope: not truthy(inner(scope))
        return self.postfix(self.primary())

    def primary(self) -> _Eval:
        if self.take("("):
            inner = self.either()
            self.expect(")")
            return inner
        if self.at >= len(self.tokens):
            raise ExpressionError(f"expression ends too early: {self.text.strip()!r}")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "string":
            literal = text[1:-1].replace("''", "'")
            return lambda _: literal
        if kind == "number":
            number = to_number(text)
            return lambda _: number
        if kind == "name":
            return self.named(text)
        raise ExpressionError(f"unexpected {text!r} in {self.text.strip()!r}")

    def named(self, name: str) -> _Eval:
        lower = name.lower()
        if self.take("("):
            return self.call(name, lower)
        if lower in {"true", "false", "null"}:
            constant: Value = None if lower == "null" else lower == "true"
            return _always(constant)
        if lower not in CONTEXTS:
            raise ExpressionError(f"unrecognized named-value {name!r} in {self.text.strip()!r}")
        self.contexts.add(lower)
        if lower == "secrets":
            following = [text for _, text in self.tokens[self.at : self.at + 2]]
            self.secrets.add(following[1].strip("'").lower() if len(following) == 2 else "*")
        return lambda scope: scope.contexts.get(lower, {})

    def call(self, name: str, lower: str) -> _Eval:
        args: list[_Eval] = []
        while not self.take(")"):
            if args:
                self.expect(",")
            args.append(self.either())
        self.functions.add(lower)
        if lower in STATUS_FUNCTIONS:
            if args:
                raise ExpressionError(f"{name}() takes no arguments in {self.text.strip()!r}")
            return _status(lower)
        if lower not in FUNCTIONS:
            raise ExpressionError(f"unrecognized function {name!r} in {self.text.strip()!r}")
        least, most, function = FUNCTIONS[lower]
        if not least <= len(args) <= most:
            raise ExpressionError(f"{name}() has {len(args)} arguments in {self.text.strip()!r}")
        return lambda scope: function([arg(scope) for arg in args])

    def postfix(self, value: _Eval) -> _Eval:
        while True:
            if self.take("."):
                if self.take("*"):
                    value = _filter(value)
                    continue
                if self.at >= len(self.tokens) or self.tokens[self.at][0] != "name":
                    raise ExpressionError(f"a name must follow '.' in {self.text.strip()!r}")
                key = self.tokens[self.at][1]
                self.at += 1
                value = _index(value, _always(key))
            elif self.take("["):
                value = _filter(value) if self.take("*") else _index(value, self.either())
                self.expect("]")
            else:
                return value


def _always(value: Value) -> _Eval:
    return lambda _: value


def _or(left: _Eval, right: _Eval) -> _Eval:
    return lambda scope: value if truthy(value := left(scope)) else right(scope)


def _and(left: _Eval, right: _Eval) -> _Eval:
    return lambda scope: right(scope) if truthy(value := left(scope)) else value


def _binary(test: Callable[[Value, Value], bool], left: _Eval, right: _Eval) -> _Eval:
    return lambda scope: test(left(scope), right(scope))


def _status(name: str) -> _Eval:
    match name:
        case "always":
            return lambda _: True
        case "cancelled":
            return lambda scope: scope.cancelled
        case "failure":
            return lambda scope: scope.failed and not scope.cancelled
        case _:
            return lambda scope: scope.succeeded


def _look_up(value: Value, key: Value) -> Value:
    if isinstance(value, Mapping):
        wanted = to_text(key).lower()
        return next((item for name, item in value.items() if name.lower() == wanted), None)
    if isinstance(value, Sequence) and not isinstance(value, str):
        number = to_number(key)
        return value[int(number)] if number.is_integer() and 0 <= number < len(value) else None
    return None


class _Items(tuple[Value, ...]):
    """What `.*` yields; being a tuple it is an array to everything else."""

    __slots__ = ()


def _filter(value: _Eval) -> _Eval:
    def run(scope: Scope) -> Value:
        seen = value(scope)
        if isinstance(seen, Mapping):
            return _Items(seen.values())
        return _Items(seen) if isinstance(seen, Sequence) and not isinstance(seen, str) else _Items()

    return run


def _index(value: _Eval, key: _Eval) -> _Eval:
    def run(scope: Scope) -> Value:
        seen, name = value(scope), key(scope)
        if isinstance(seen, _Items):
            found = (_look_up(item, name) for item in seen)
            return _Items(item for item in found if item is not None)
        return _look_up(seen, name)

    return run


def parse(text: str) -> Expression:
    """Parse one expression (without `${{ }}`). Raises ExpressionError."""
    parser = _Parser(text)
    evaluate = parser.parse()
    return Expression(
        text.strip(),
        frozenset(parser.contexts),
        frozenset(parser.secrets),
        frozenset(parser.functions),
        evaluate,
    )


@dataclass(frozen=True)
class Template:
    """Text with `${{ }}` parts. A template that is one expression keeps the value's kind."""

    source: str
    parts: tuple[str | Expression, ...]

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(part for part in self.parts if isinstance(part, Expression))

    def value(self, scope: Scope) -> Value:
        """The value; raises ExpressionError when a function refuses its arguments."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return self.parts[0].evaluate(scope)
        return self.text(scope)

    def flag(self, scope: Scope) -> bool:
        """The value where the file format wants a boolean: only `true` is yes, the text "false" is no."""
        return self.text(scope).strip().lower() == "true"

    def text(self, scope: Scope) -> str:
        """The value as a string."""
        return "".join(part if isinstance(part, str) else to_text(part.evaluate(scope)) for part in self.parts)


_PART: Final = re.compile(r"\$\{\{((?:[^'}]|'(?:[^']|'')*'|\}(?!\}))*)\}\}", re.DOTALL)


def template(source: str) -> Template:
    """Parse text that may hold `${{ }}` parts. Raises ExpressionError."""
    parts: list[str | Expression] = []
    at = 0
    for match in _PART.finditer(source):
        if match.start() > at:
            parts.append(source[at : match.start()])
        parts.append(parse(match[1]))
        at = match.end()
    rest = source[at:]
    if "${{" in rest:
        raise ExpressionError(f"'${{{{' is never closed in {rest.strip()[:60]!r}")
    if rest or not parts:
        parts.append(rest)
    return Template(source, tuple(parts))


def condition(source: str) -> Expression:
    """Parse an `if:`; without a status function it means `success() && (...)`."""
    bare = source.strip()
    if bare.startswith("${{") and bare.endswith("}}") and bare.count("${{") == 1:
        bare = bare[3:-2]
    parsed = parse(bare)
    if parsed.functions & STATUS_FUNCTIONS:
        return parsed
    evaluate = _and(_status("success"), parsed.evaluate)
    return Expression(parsed.text, parsed.contexts, parsed.secrets, parsed.functions, evaluate)
