"""A YAML file as plain data with its line numbers, with `${ENV_NAME}` and `{file: path}` resolved.

The only module that reads YAML. What the keys mean is in `bridge/config/schemas.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bridge.errors import ConfigError, clip
from bridge.text import text_problem

__all__ = ["Document", "KeyPath", "Reference", "SpelledNumber", "parse_yaml", "resolve"]

#: The path of a value: ("sources", "eu-classmarker", "poll", "every"); numbers are positions in a list.
KeyPath = tuple[str | int, ...]

_MAX_DEPTH = 20
#: A source has about 30 values; a file with a hundred sources and subscriptions stays far below this.
_MAX_VALUES = 50_000
_MAX_FILE_BYTES = 65_536
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Reference(str):
    """Text from the environment or a separate file; it may be a secret."""

    __slots__ = ()


class SpelledNumber(int):
    """A whole number that Python would write differently, such as 007, 0x1F or 12:30. It may be meant as an id."""

    #: As written in the file.
    spelling: str


@dataclass(slots=True)
class Document:
    """Parsed data, the line (from 1) of every key and list item, and the problems so far."""

    name: str
    data: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)
    #: Paths whose reference could not be resolved: further problems with their values are mere consequences.
    broken: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, problem: str) -> None:
        """Add a problem with the value at `path`."""
        if path not in self.broken:
            self.problems.append((path, problem))

    def add_broken(self, path: KeyPath, problem: str) -> None:
        """Add that the value at `path` could not be read."""
        self.problems.append((path, problem))
        self.broken.add(path)

    def add_messages(self, messages: Any, path: KeyPath) -> None:
        """Add every message of a marshmallow `ValidationError`."""
        if isinstance(messages, Mapping):
            for key, inner in messages.items():
                self.add_messages(inner, path if key == "_schema" else (*path, key))
        else:
            for message in messages if isinstance(messages, list) else [messages]:
                self.add(path, message)

    def error(self) -> ConfigError:
        """All problems as complete lines, in the order of the file."""
        placed = sorted((self._line(path), _dotted(path), text) for path, text in self.problems)
        return ConfigError(*(f"{self.name}:{line}: {dotted}{text}" for line, dotted, text in placed))

    def _line(self, path: KeyPath) -> int:
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def _dotted(path: KeyPath) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text.removeprefix('.')}: " if text else ""


def parse_yaml(text: str, name: str) -> Document:
    """The document in `text`; messages call the file `name`.

    Raises `ConfigError` for a syntax error. Duplicate keys are added as problems; the last one counts.
    """
    document = Document(name)
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{name}:{line}: {text_problem(text[error.position]) or error.reason}. Remedy: take it out"
        ) from error
    try:
        node = loader.get_single_node()
        if node is not None:
            _count_values(node, name, {})
            document.data = _plain(loader, node, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(
            f"{name}:{line}: not YAML: {clip(what)}. Remedy: look at the line and the one before"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}:1: not YAML: {clip(error)}") from error
    except (ValueError, OverflowError) as error:
        # PyYAML's, for an escape beyond the last character.
        line = loader.line + 1
        raise ConfigError(
            f"{name}:{line}: not YAML: {clip(error)}. Remedy: look at the line and the one before"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{name}:{loader.line + 1}: nested deeper than {_MAX_DEPTH}") from error
    finally:
        loader.dispose()
    return document


def _count_values(node: yaml.Node, name: str, counts: dict[int, int]) -> int:
    """How many values `node` stands for; an alias counts as much as what it names. `counts`: by node, 0 while open.

    Raises `ConfigError` before any value is made: nine levels of nine aliases are a kilobyte of text.
    """
    if id(node) in counts:
        if counts[id(node)] == 0:
            raise ConfigError(f"{name}:{node.start_mark.line + 1}: an alias names its own parent. Remedy: remove it")
        return counts[id(node)]
    counts[id(node)] = 0
    number = 1
    for child in _children(node):
        number += _count_values(child, name, counts)
        if number > _MAX_VALUES:
            raise ConfigError(
                f"{name}:{node.start_mark.line + 1}: holds more than {_MAX_VALUES} values, each alias counted as what "
                "it names. Remedy: use fewer aliases"
            )
    counts[id(node)] = number
    return number


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _plain(loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > _MAX_DEPTH:
        document.add(path, f"nested deeper than {_MAX_DEPTH}")
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*path, place), document) for place, item in enumerate(node.value)]
    try:
        value = loader.construct_object(node)
    except (ValueError, TypeError, AttributeError) as error:
        # What PyYAML raises for a date such as 2026-99-99 or a tag that does not fit its value.
        document.add_broken(path, f"cannot be read as a value: {clip(error, 60)}. Remedy: put it in quotes")
        return None
    if isinstance(value, str) and (problem := text_problem(value, lines=True)):
        document.add_broken(path, problem)
        return None
    if type(value) is int and str(value) != node.value:
        number = SpelledNumber(value)
        number.spelling = node.value
        return number
    return value


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, path: KeyPath, document: Document) -> dict[str, Any]:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        line = key.start_mark.line + 1
        if key.value in first:
            document.lines[(*path, key.value)] = line
            document.add(
                (*path, key.value), f"duplicate key, first in line {first[key.value]}. Remedy: keep one of them"
            )
        first.setdefault(key.value, line)
    loader.flatten_mapping(node)  # `<<: *defaults`; own keys come last and win
    members: dict[str, Any] = {}
    for key, value in node.value:
        # The key's own spelling: YAML 1.1 would make True of `on` and 10 of `012`.
        name = key.value if isinstance(key, yaml.ScalarNode) else str(loader.construct_object(key, deep=True))
        if problem := text_problem(name):
            shown = (*path, clip(ascii(name)[1:-1], 40))
            document.lines[shown] = key.start_mark.line + 1
            document.add(shown, f"this name {problem}")
            continue
        document.lines[(*path, name)] = key.start_mark.line + 1
        members[name] = _plain(loader, value, (*path, name), document)
    return members


def resolve(document: Document, environment: Mapping[str, str], folder: Path, *, literals: bool) -> None:
    """Replace every `${NAME}` and every `{file: path}` in the document by a `Reference`; failures become problems.

    Relative paths start at `folder`. `literals`: all text counts as a reference, for the demo's generated file.
    """
    document.data = _resolve(document.data, (), document, environment, folder, literals)


def _resolve(
    value: Any, path: KeyPath, document: Document, environment: Mapping[str, str], folder: Path, literals: bool
) -> Any:
    if isinstance(value, dict):
        if list(value) == ["file"] and isinstance(value["file"], str):
            return _from_file(value["file"], path, document, folder)
        return {
            name: _resolve(member, (*path, name), document, environment, folder, literals)
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [
            _resolve(item, (*path, place), document, environment, folder, literals) for place, item in enumerate(value)
        ]
    if isinstance(value, str):
        if "${" in value:
            return _from_environment(value, path, document, environment)
        return Reference(value) if literals else value
    return value


def _from_environment(text: str, path: KeyPath, document: Document, environment: Mapping[str, str]) -> Reference:
    names = _REFERENCE.findall(text)
    if "${" in _REFERENCE.sub("", text):
        document.add_broken(
            path, "has a ${ that starts no reference. Remedy: write ${ENV_NAME}, with letters, digits and _"
        )
    for name in names:
        if not environment.get(name):
            state = "is empty" if name in environment else "is not set"
            document.add_broken(
                path, f"environment variable {name} {state}. Remedy: export {name}=..., or use {{file: path}}"
            )
        elif problem := text_problem(environment[name], lines=True):
            document.add_broken(path, f"environment variable {name} {problem}. Remedy: set it again, in UTF-8")
    return Reference(_REFERENCE.sub(lambda match: environment.get(match[1], ""), text))


def _from_file(name: str, path: KeyPath, document: Document, folder: Path) -> Reference:
    file = folder / name
    try:
        raw = file.read_bytes()
        text = raw.decode().strip()
    except UnicodeDecodeError:
        document.add_broken(path, f"{file} is not UTF-8 text; a secret file holds one line")
        return Reference()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else clip(error)
        shown = clip(file, 200)
        document.add_broken(path, f"{shown} cannot be read: {why}. Remedy: create it, or allow this user to read it")
        return Reference()
    if not text or len(raw) > _MAX_FILE_BYTES:
        document.add_broken(path, f"{file} is {'larger than 64 kB' if text else 'empty'}; a secret file holds one line")
    elif problem := text_problem(text, lines=True):
        document.add_broken(path, f"{file} {problem}; a secret file holds one line")
    return Reference(text)
