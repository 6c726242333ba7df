"""Templates of messages: a part of Jinja2 in which nothing runs long, grows large or reaches Python. Pure.

There are output, `if`, `for` and filters that take time in proportion to their input; there are no calls, macros,
assignments, multiplication or powers, and a loop goes over existing values, not over what the template puts together.
So a text grows only with the length of the template, a template ends after a bounded number of steps, and no clock or
process has to watch it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2 import filters as jinja_filters
from jinja2 import tests as jinja_tests
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import pass_context

from bridge.errors import clip

__all__ = ["Link", "Template", "TemplateProblem"]

#: Longest source of a template, characters; items of all loops of a template together; depth of nested loops.
_LONGEST_SOURCE, _MOST_ITEMS, _DEEPEST_LOOP = 4_000, 1_000, 3
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.For,
    nodes.Name,
    nodes.Const,
    nodes.List,
    nodes.Tuple,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Add,
    nodes.Sub,
    nodes.Div,
    nodes.Neg,
    nodes.Keyword,
)
#: Those of them that a loop may go over: nothing that puts text or lists together.
_LOOPED = (nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Keyword)
_FILTERS = (
    *("capitalize", "count", "d", "default", "first", "float", "int", "join", "last", "length", "list", "lower", "map"),
    *("max", "min", "reject", "rejectattr", "select", "selectattr", "sort", "string", "sum", "title", "trim"),
    *("truncate", "unique", "upper"),
)
_TESTS = (
    *("boolean", "defined", "eq", "equalto", "false", "float", "ge", "greaterthan", "gt", "in", "integer", "le"),
    *("lessthan", "lt", "mapping", "ne", "none", "number", "sequence", "string", "true", "undefined", "==", "!="),
    *(">", ">=", "<", "<="),
)
_EACH = "_each"


class TemplateProblem(ValueError):
    """What is wrong with a template, in one line, or why it cannot be rendered."""


class Link(str):
    """An address that may be shown as one: it is printed unchanged."""

    __slots__ = ()


class Template:
    """A compiled template. Raises `TemplateProblem` if it is not valid."""

    def __init__(self, source: str) -> None:
        if len(source) > _LONGEST_SOURCE:
            raise TemplateProblem(f"has {len(source)} characters. Remedy: at most {_LONGEST_SOURCE}")
        try:
            tree = _ENVIRONMENT.parse(source)
            _check(tree, 0)
            for loop in tree.find_all(nodes.For):
                loop.iter = nodes.Filter(loop.iter, _EACH, [], [], None, None, lineno=loop.lineno)
            self._compiled = _ENVIRONMENT.from_string(tree)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            where = f"line {line}: " if line else ""
            raise TemplateProblem(f"is not a valid template: {where}{clip(error.message or '', 150)}") from error
        except (RecursionError, MemoryError, SyntaxError) as error:
            raise TemplateProblem("is nested too deeply. Remedy: make it simpler") from error

    def render(self, values: Mapping[str, Any], *, safe: Callable[[str], str], most: int) -> str:
        """The text, at most `most` characters. `safe`: applied to each value that is printed.

        Raises `TemplateProblem`, whose text may quote names of members, not their values.
        """
        parts, length = [], 0
        try:
            for part in self._compiled.generate({**values, "_safe": safe, "_budget": _Budget(_MOST_ITEMS)}):
                parts.append(part[: most + 1])
                length += len(part)
                if length > most:
                    break
        except TemplateProblem:
            raise
        except TemplateError as error:
            raise TemplateProblem(f"cannot be rendered: {clip(error.message or '', 150)}") from error
        except Exception as error:
            # Any error that a filter raises for a value that it does not expect; its text may quote the value.
            raise TemplateProblem(f"cannot be rendered: {type(error).__name__}") from error
        text = "".join(parts).strip()
        return text if len(text) <= most else text[: most - 1] + "…"


class _Budget:
    def __init__(self, left: int) -> None:
        self.left = left


def _check(node: nodes.Node, depth: int, *, looped: bool = False) -> None:
    """Raise `TemplateProblem` for what is not available. `looped`: the node is what a loop goes over."""
    problem = None
    if not isinstance(node, _ALLOWED):
        problem = f"{_WORDS.get(type(node).__name__) or type(node).__name__} is not available"
    elif looped and not isinstance(node, _LOOPED):
        problem = "a loop goes over a member of the event, such as data.sections"
    elif isinstance(node, nodes.Name) and (node.name.startswith("_") or node.name == "self"):
        problem = f"{clip(node.name, 30)} is not available"
    elif isinstance(node, nodes.Filter):
        problem = _filter_problem(node)
    elif isinstance(node, nodes.Test) and node.name not in _ENVIRONMENT.tests:
        problem = f'test "{clip(node.name, 30)}" is not available'
    elif isinstance(node, nodes.For):
        depth += 1
        if node.recursive or depth > _DEEPEST_LOOP:
            problem = f"loops are nested deeper than {_DEEPEST_LOOP}, or recursive"
    if problem:
        raise TemplateProblem(f"is not a valid template: line {node.lineno}: {problem}")
    for child in node.iter_child_nodes():
        _check(child, depth, looped=looped or (isinstance(node, nodes.For) and child is node.iter))


def _filter_problem(node: nodes.Filter) -> str | None:
    if node.name not in _ENVIRONMENT.filters or node.name == _EACH:
        return f'filter "{clip(node.name, 30)}" is not available'
    if node.name == "map" and (node.args or [each.key for each in node.kwargs] != ["attribute"]):
        return "map takes only attribute="
    given = [*node.args, *(each.value for each in node.kwargs)]
    if node.name == "join" and not all(isinstance(each, nodes.Const) for each in given):
        return "join takes only text, such as join(', ')"
    if node.dyn_args or node.dyn_kwargs:
        return f"{node.name} takes no * or **"
    return None


#: Kind of a syntax node -> what a person calls it.
_WORDS = {"Call": "a call", "Mul": "*", "Pow": "**", "Mod": "%", "FloorDiv": "//", "Assign": "set", "Dict": "{...}"}


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    if isinstance(value, Undefined | Link):
        return value  # to print an undefined value is an error
    return "" if value is None else context["_safe"](str(value))


@pass_context
def _each(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    budget: _Budget = context["_budget"]
    for item in items:
        budget.left -= 1
        if budget.left < 0:
            raise TemplateProblem(f"loops over more than {_MOST_ITEMS} items")
        yield item


def _round(value: Any, digits: int = 0) -> Any:
    """The filter `round`, limited to 0 to 6 digits after the point: others could take unbounded time."""
    return round(float(value), min(max(int(digits), 0), 6))


def _time(value: Any) -> str:
    """`2026-11-20T14:52:41.000Z` as `2026-11-20 14:52 UTC`; other text unchanged, `-` for none."""
    text = "-" if value is None else str(value)
    return f"{text[:10]} {text[11:16]} UTC" if text[10:11] == "T" and text.endswith("Z") else text


def _number(value: Any) -> str:
    """A number without needless zeros; other values unchanged, `-` for none."""
    if value is None:
        return "-"
    # Text could name a number with a billion digits.
    return f"{Decimal(str(value)).normalize():f}" if isinstance(value, int | float) else str(value)


def _link(value: Any) -> str:
    """An https address as one that may be followed; anything else as text."""
    text = "" if value is None else str(value)
    plain = text.startswith("https://") and len(text) <= 500 and all("!" <= char <= "~" for char in text)
    return Link(text) if plain and not set(text) & set("<>\"'`|()[]{}\\") else text


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_finalize, trim_blocks=True, lstrip_blocks=True, cache_size=0
    )
    environment.globals = {}
    environment.filters = {name: jinja_filters.FILTERS[name] for name in _FILTERS}
    environment.filters.update({"round": _round, "time": _time, "number": _number, "link": _link, _EACH: _each})
    environment.tests = {name: jinja_tests.TESTS[name] for name in _TESTS}
    return environment


_ENVIRONMENT = _environment()
