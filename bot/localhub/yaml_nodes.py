"""YAML with places: every value knows its key path and line, so that errors can name both.

Promise: scalars are read as GitHub reads workflow files (YAML 1.2 core: `on`, `yes` and `no` are
strings); duplicate keys are errors; anchors and aliases work, merge keys do not. Pure.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


class WorkflowError(Exception):
    """A workflow file that cannot be used: says file, line, key path and what is wrong."""

    def __init__(self, file: str, line: int, path: str, problem: str) -> None:
        where = f"{file}, line {line}" + (f", {path}" if path else "")
        super().__init__(f"{where}: {problem}")
        self.file, self.line, self.path, self.problem = file, line, path, problem


Scalar = None | bool | int | float | str


@dataclass(frozen=True)
class Node:
    """One YAML value with its place."""

    file: str
    path: str
    line: int
    value: Scalar | list[Node] | dict[str, Node]

    def fail(self, problem: str) -> WorkflowError:
        """An error about this node, for the caller to raise."""
        return WorkflowError(self.file, self.line, self.path, problem)

    @property
    def empty(self) -> bool:
        return self.value is None

    def mapping(self, known: frozenset[str] | None = None) -> dict[str, Node]:
        """The members; with `known` any other name is an error. Null counts as empty."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.fail("expected a mapping")
        for name, node in self.value.items():
            if known is not None and name not in known:
                raise node.fail(f"unexpected key {name!r}; known here: {', '.join(sorted(known))}")
        return self.value

    def items(self) -> Iterator[tuple[str, Node]]:
        return iter(self.mapping().items())

    def sequence(self) -> list[Node]:
        """The elements; anything but a list is an error."""
        if not isinstance(self.value, list):
            raise self.fail("expected a list")
        return self.value

    def strings(self) -> tuple[str, ...]:
        """A string or a list of strings."""
        if isinstance(self.value, list):
            return tuple(item.text() for item in self.value)
        return (self.text(),)

    def text(self) -> str:
        """A scalar as text (numbers and booleans as written in JSON)."""
        value = self.value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (str, int, float)):
            return str(value)
        raise self.fail("expected a string")

    def boolean(self) -> bool:
        if isinstance(self.value, bool):
            return self.value
        raise self.fail("expected true or false")

    def number(self) -> float:
        if isinstance(self.value, (int, float)) and not isinstance(self.value, bool):
            return float(self.value)
        raise self.fail("expected a number")


def load(file: str, text: str) -> Node:
    """Parse one YAML document. Raises WorkflowError."""
    try:
        root = _composed(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise WorkflowError(file, line, "", f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise WorkflowError(file, 1, "", f"not YAML: {error}") from error
    if root is None:
        raise WorkflowError(file, 1, "", "the file is empty")
    return _convert(file, "", root)


def _composed(text: str) -> yaml.Node | None:
    """Ten times as fast with libyaml; what it refuses is read again by PyYAML's own parser, whose messages are ours."""
    if yaml.__with_libyaml__:
        with contextlib.suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=yaml.CSafeLoader)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _convert(file: str, path: str, node: yaml.Node) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        members: dict[str, Node] = {}
        for key, value in node.value:
            name = str(key.value)
            inner = f"{path}.{name}" if path else name
            if name in members:
                raise WorkflowError(file, key.start_mark.line + 1, inner, "the key is given twice")
            converted = _convert(file, inner, value)
            # An error about a member is best shown at its key, also when its value is a block.
            members[name] = Node(file, inner, key.start_mark.line + 1, converted.value)
        return Node(file, path, line, members)
    if isinstance(node, yaml.SequenceNode):
        rows = [_convert(file, f"{path}[{i}]", item) for i, item in enumerate(node.value)]
        return Node(file, path, line, rows)
    return Node(file, path, line, _scalar(node))


def _scalar(node: yaml.Node) -> Scalar:
    text = str(node.value)
    if getattr(node, "style", None):  # quoted or a block; for plain ones the parsers say None or nothing
        return text
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text
