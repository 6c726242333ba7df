"""`docs/vendor-contract.md`: every member of what a vendor folder declares and returns, from the code's `#:` lines."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path

from bridge.errors import ConfigError
from bridge.sdk import compiled_schema, vendor
from schemas import event

__all__ = ["CONTRACT", "Member", "contract", "members"]

#: Heading -> the classes below it, in that order.
CONTRACT: dict[str, tuple[type, ...]] = {
    "The declaration": (
        vendor.Vendor,
        vendor.Credential,
        vendor.Option,
        vendor.Quota,
        vendor.Poll,
        vendor.FactSheet,
    ),
    "What the functions of a vendor return": (
        vendor.Record,
        vendor.Pointer,
        vendor.Consent,
        vendor.Ignored,
        vendor.Page,
        vendor.Resume,
        vendor.NormalisedAttempt,
        vendor.Watch,
        event.Candidate,
        event.Assessment,
        event.Group,
        event.Result,
        event.Section,
    ),
    "What the bridge passes to a client": (vendor.SourceFacts, vendor.VendorCalls, vendor.Memory),
}
_TOLERANT = "Fields for schemas"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a class, as the code writes it."""

    name: str
    #: In words: `function` for a callable, `or` for `|`.
    type: str
    #: As Python prints it; None if the member must be given.
    default: str | None
    #: The `#:` lines above it, or the docstring of a method.
    meaning: str


def contract() -> str:
    """All tables, and the fields for schemas."""
    parts = []
    for heading, classes in CONTRACT.items():
        parts.append(f"## {heading}\n")
        parts += [_section(cls) for cls in classes]
    return "\n".join([*parts, f"## {_TOLERANT}\n", _fields()])


def members(cls: type) -> list[Member]:
    """The members that a class declares, in its order. Raises `ConfigError` for one without a `#:` line."""
    lines, tree = _source(inspect.getsourcefile(cls) or "")
    body = next(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    found = list(_members(body, lines, _defaults(cls)))
    for member in found:
        if not member.meaning:
            raise ConfigError(f"{cls.__name__}.{member.name} is not explained. Remedy: write a #: line above it")
    return found


def _section(cls: type) -> str:
    rows = ["| member | type | default | meaning |", "|---|---|---|---|"]
    for member in members(cls):
        default = "required" if member.default is None else f"`{member.default}`"
        # A default says nothing about what the bridge hands over.
        if not is_dataclass(cls):
            default = "-"
        rows.append(f"| `{member.name}` | `{member.type}` | {default} | {member.meaning} |")
    return f"### {cls.__name__}\n\n{_first(cls)}\n\n" + "\n".join(rows) + "\n"


def _fields() -> str:
    rows = ["| field | what it loads |", "|---|---|"]
    for name in compiled_schema.__all__:
        cls = getattr(compiled_schema, name)
        if isinstance(cls, type) and cls is not compiled_schema.TolerantField:
            rows.append(f"| `{name}` | {_first(cls)} |")
    return "\n".join(rows) + "\n"


def _first(cls: type) -> str:
    """The docstring's first paragraph as one line of a table."""
    return _cell(inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


@cache
def _source(file: str) -> tuple[Sequence[str], ast.Module]:
    text = Path(file).read_text(encoding="utf-8")
    return text.splitlines(), ast.parse(text)


def _members(body: Sequence[ast.stmt], lines: Sequence[str], defaults: Mapping[str, str]) -> Iterator[Member]:
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            yield Member(name, _type(node.annotation), defaults.get(name), _comment(lines, node.lineno))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            is_property = any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list)
            arguments = "" if is_property else f"({_arguments(node.args)})"
            returned = "None" if node.returns is None else _type(node.returns)
            yield Member(f"{node.name}{arguments}", returned, None, _cell(ast.get_docstring(node) or ""))


def _comment(lines: Sequence[str], line: int) -> str:
    """The `#:` lines right above a line, which counts from 1."""
    found: list[str] = []
    while lines[line - 2 - len(found)].strip().startswith("#:"):
        found.insert(0, lines[line - 2 - len(found)].strip().removeprefix("#:"))
    return _cell(" ".join(found))


def _type(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.BinOp):
        return f"{_type(annotation.left)} or {_type(annotation.right)}"
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Callable":
        return "function"
    return ast.unparse(annotation).replace(" | ", " or ")


def _defaults(cls: type) -> Mapping[str, str]:
    """Member -> its default, of those that have one."""
    found = {}
    for member in fields(cls) if is_dataclass(cls) else ():
        if member.default_factory is not MISSING:
            found[member.name] = repr(member.default_factory())
        elif member.default is not MISSING:
            found[member.name] = repr(member.default)
    return found


def _arguments(arguments: ast.arguments) -> str:
    names = [argument.arg for argument in arguments.args if argument.arg != "self"]
    optional = [argument.arg for argument in arguments.kwonlyargs]
    return ", ".join([*names, *(["*", *optional] if optional else [])])
