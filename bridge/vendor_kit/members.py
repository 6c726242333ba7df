"""`docs/vendor-contract.md`: every member of what a vendor folder declares and returns, from the code's `#:` lines."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path

from bridge.errors import ConfigError
from bridge.sdk import compiled_schema, json_api, odd_results, simulator, table, table_simulator, time_cursor, vendor
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
    "Reading an API": (json_api.JsonApi, time_cursor.TimeCursor),
    "Simulating a vendor": (
        table.Table,
        table.Sitting,
        table_simulator.TableBench,
        table_simulator.TableSimulator,
        simulator.SimulatedVendor,
        simulator.ExpectedAttempt,
    ),
}
#: Heading -> functions, which follow the classes below it.
_FUNCTIONS: dict[str, tuple[Callable[..., object], ...]] = {
    "Reading an API": (
        json_api.key_in_header,
        json_api.rows_of,
        time_cursor.poll_by_time,
        odd_results.odd_flags,
    ),
    "Simulating a vendor": (table.iso,),
}
_NO_DEFAULT = "-"
_TOLERANT = "Fields for schemas"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a class, as the code writes it."""

    name: str
    #: In words: `function` for a callable, `or` for `|`.
    type: str
    #: As Python prints it; None if the member must be given, "-" for a method.
    default: str | None
    #: The `#:` lines above it, or the docstring of a method.
    meaning: str


def contract() -> str:
    """All tables, and the fields for schemas."""
    parts = []
    for heading, classes in CONTRACT.items():
        parts.append(f"## {heading}\n")
        parts += [_section(cls) for cls in classes]
        if heading in _FUNCTIONS:
            parts.append(_table(("function", "from", "returns", "meaning"), map(_function_row, _FUNCTIONS[heading])))
    return "\n".join([*parts, f"## {_TOLERANT}\n", _fields()])


def members(cls: type) -> list[Member]:
    """The members that a class declares, in its order. Raises `ConfigError` for one without a `#:` line."""
    lines, tree = _source(inspect.getsourcefile(cls) or "")
    body = next(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    # In any other class, only what is explained is for others.
    if not (is_dataclass(cls) or getattr(cls, "_is_protocol", False)):
        body = [node for node in body if _is_explained(node, lines)]
    declared = list(_members(body, lines, _defaults(cls)))
    for member in declared:
        if not member.meaning:
            raise ConfigError(f"{cls.__name__}.{member.name} is not explained. Remedy: write a #: line above it")
    return declared


def _is_explained(node: ast.stmt, lines: Sequence[str]) -> bool:
    if isinstance(node, ast.FunctionDef):
        return bool(ast.get_docstring(node))
    return isinstance(node, ast.AnnAssign) and bool(_comment(lines, node.lineno))


def _section(cls: type) -> str:
    rows = (_row(member, is_dataclass(cls)) for member in members(cls))
    return f"### {cls.__name__}\n\n{_first(cls)}{_imported(cls)}\n\n" + _table(
        ("member", "type", "default", "meaning"), rows
    )


def _imported(cls: type) -> str:
    """Where to import it from, unless it is `bridge.sdk.vendor`, like nearly everything."""
    return "" if cls.__name__ in vendor.__all__ else f" From `{cls.__module__}`."


def _row(member: Member, has_defaults: bool) -> tuple[str, ...]:
    default = "required" if member.default is None else f"`{member.default}`"
    if not has_defaults or member.default == _NO_DEFAULT:
        default = _NO_DEFAULT
    return f"`{member.name}`", f"`{member.type}`", default, member.meaning


def _function_row(function: Callable[..., object]) -> tuple[str, ...]:
    _, tree = _source(inspect.getsourcefile(function) or "")
    name = function.__name__
    (node,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    member = _method(node)
    return f"`{member.name}`", f"`{function.__module__}`", f"`{member.type}`", member.meaning


def _fields() -> str:
    classes = [getattr(compiled_schema, name) for name in compiled_schema.__all__]
    shown = [cls for cls in classes if isinstance(cls, type) and cls is not compiled_schema.TolerantField]
    return _table(("field", "what it loads"), ((f"`{cls.__name__}`", _first(cls)) for cls in shown))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


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
            default = ast.unparse(node.value) if isinstance(node.value, ast.Lambda) else defaults.get(name)
            yield Member(name, _type(node.annotation), default, _comment(lines, node.lineno))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield _method(node)


def _method(node: ast.FunctionDef) -> Member:
    is_property = any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list)
    arguments = "" if is_property else f"({_arguments(node.args)})"
    returned = "None" if node.returns is None else _type(node.returns)
    return Member(f"{node.name}{arguments}", returned, _NO_DEFAULT, _cell(ast.get_docstring(node) or ""))


def _comment(lines: Sequence[str], line: int) -> str:
    """The `#:` lines right above a line, which counts from 1."""
    comment: list[str] = []
    while lines[line - 2 - len(comment)].strip().startswith("#:"):
        comment.insert(0, lines[line - 2 - len(comment)].strip().removeprefix("#:"))
    return _cell(" ".join(comment))


def _type(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.BinOp):
        return f"{_type(annotation.left)} or {_type(annotation.right)}"
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Callable":
        return "function"
    return ast.unparse(annotation).replace(" | ", " or ")


def _defaults(cls: type) -> Mapping[str, str]:
    """Member -> its default, for those that have one."""
    defaults = {}
    for member in fields(cls) if is_dataclass(cls) else ():
        if member.default_factory is not MISSING:
            defaults[member.name] = repr(member.default_factory())
        elif member.default is not MISSING:
            defaults[member.name] = repr(member.default)
    return defaults


def _arguments(arguments: ast.arguments) -> str:
    names = [argument.arg for argument in arguments.args if argument.arg not in ("self", "cls")]
    optional = [argument.arg for argument in arguments.kwonlyargs]
    others = [f"**{arguments.kwarg.arg}"] if arguments.kwarg else []
    return ", ".join([*names, *(["*", *optional] if optional else []), *others])
