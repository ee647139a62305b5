"""YAML read for people: plain values with the position of every key and value, and nothing that can explode.

Promise: `read_yaml` never raises and never builds more than it was given. Anchors, aliases, tags, several documents,
duplicate keys and deep nesting are refused with their position; sizes are capped before parsing. Positions count from
1, as editors do. Times stay text, because YAML's own idea of dates surprises people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

import yaml

MAX_DEPTH: Final = 12
"""Levels of nesting; ours need four, and composing recurses once a level."""
MAX_NODES: Final = 5_000
"""Scalars, lists and maps in one document; far above any honest file."""

Path = tuple[str | int, ...]
Value = None | bool | int | float | str | tuple["Value", ...] | Mapping[str, "Value"]


_KIND_TEXT: Final = MappingProxyType(
    {
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
        "string_type": "must be a text",
        "tuple_type": "must be a list",
        "model_type": "must be a section of settings, one a line",
        "is_instance_of": "must be a role: triage, write, maintain or admin",
    }
)
"""Pydantic's words for wrong kinds, said for people who write YAML."""


def complaint(kind: str, message: str) -> str:
    """What a finding of pydantic (its type and message) says to somebody who wrote YAML."""
    said = _KIND_TEXT.get(kind, message).removeprefix("Value error, ").replace("Input should be", "must be")
    return (said[:1].lower() + said[1:]).rstrip(".")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong and where. `line` and `column` count from 1; 0 means the whole text."""

    line: int
    column: int
    message: str

    @property
    def where(self) -> str:
        return f"line {self.line}, column {self.column}" if self.line else "the file"


@dataclass(frozen=True, slots=True)
class YamlText:
    """A document as plain values (lists as tuples) with the positions of keys and values by path."""

    value: Value
    positions: Mapping[Path, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))

    def position(self, path: Path) -> tuple[int, int]:
        """Where this path is written, or the nearest part of the document around it."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))

    def fault(self, path: Path, message: str) -> Fault:
        line, column = self.position(path)
        return Fault(line, column, message)


def read_yaml(text: str, *, max_chars: int, first_line: int = 1) -> YamlText | tuple[Fault, ...]:
    """Parses one document. `first_line` is the line at which the text begins in its file. Empty text gives None."""
    if len(text) > max_chars:
        return (Fault(0, 0, f"is {len(text)} characters long; the limit is {max_chars}"),)
    reader = _Reader(first_line)
    try:
        faults = reader.scan(text)
        if faults:
            return faults
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = reader.at(mark)
        return (Fault(line, column, f"is not valid YAML: {error.problem or error.context or 'unreadable'}"),)
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        return (Fault(0, 0, f"is not valid YAML: {reason}"),)
    if node is None:
        return YamlText(None)
    value = reader.build(node, ())
    if reader.faults:
        return tuple(reader.faults)
    return YamlText(value, MappingProxyType(reader.positions))


class _Mark(Protocol):
    line: int
    column: int


class _Reader:
    def __init__(self, first_line: int) -> None:
        self._first_line = first_line
        self._constructor = yaml.SafeLoader("")
        self.positions: dict[Path, tuple[int, int]] = {}
        self.faults: list[Fault] = []

    def at(self, mark: _Mark | None) -> tuple[int, int]:
        return (mark.line + self._first_line, mark.column + 1) if mark else (0, 0)

    def scan(self, text: str) -> tuple[Fault, ...]:
        """Walks the events, which needs no recursion, before anything is built."""
        depth = nodes = documents = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line, column = self.at(event.start_mark)
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        return (Fault(line, column, "starts a second document; only one is read"),)
                case yaml.AliasEvent():
                    return (Fault(line, column, "uses an alias (`*name`); write the value out"),)
                case yaml.NodeEvent() if event.anchor is not None:
                    return (Fault(line, column, "uses an anchor (`&name`); write the value out"),)
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    depth += 1
                    nodes += 1
                    if depth > MAX_DEPTH:
                        return (Fault(line, column, f"is nested deeper than {MAX_DEPTH} levels"),)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    depth -= 1
                case yaml.ScalarEvent():
                    nodes += 1
                case _:
                    pass
            if nodes > MAX_NODES:
                return (Fault(line, column, f"has more than {MAX_NODES} values"),)
        return ()

    def build(self, node: yaml.Node, path: Path) -> Value:
        self.positions.setdefault(path, self.at(node.start_mark))
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return tuple(self.build(child, (*path, index)) for index, child in enumerate(node.value))
            case yaml.ScalarNode():
                return self._scalar(node)
            case _:
                return self._fault(node, "is of a kind that is not read")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Value:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, "is not a plain key")
                continue
            key = str(key_node.value)
            if key in result:
                self._fault(key_node, f"repeats the key `{key}`; keep one")
                continue
            self.positions[(*path, key)] = self.at(key_node.start_mark)
            result[key] = self.build(value_node, (*path, key))
        return MappingProxyType(result)

    def _scalar(self, node: yaml.ScalarNode) -> Value:
        text = str(node.value)
        try:
            match node.tag:
                case "tag:yaml.org,2002:null":
                    return None
                case "tag:yaml.org,2002:bool":
                    return bool(self._constructor.construct_yaml_bool(node))
                case "tag:yaml.org,2002:int":
                    return int(self._constructor.construct_yaml_int(node))
                case "tag:yaml.org,2002:float":
                    return float(self._constructor.construct_yaml_float(node))
                case "tag:yaml.org,2002:str" | "tag:yaml.org,2002:timestamp" | "tag:yaml.org,2002:value":
                    return text
                case "tag:yaml.org,2002:merge":
                    return text
                case other:
                    return self._fault(node, f"uses the tag `{other}`, which is not read")
        except (ValueError, KeyError, OverflowError):
            return self._fault(node, f"is not a value that can be read: {text[:40]!r}")

    def _fault(self, node: yaml.Node, message: str) -> Value:
        line, column = self.at(node.start_mark)
        self.faults.append(Fault(line, column, message))
        return None
