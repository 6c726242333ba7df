"""Werkzeug compiles two functions for every URL rule of every application: most of the time that making one takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule


def share_url_builders() -> None:
    """Let equal rules of all applications of this process share them. A product process makes one application."""
    compiled: dict[object, Callable[..., tuple[str, str]]] = {}
    compile_builder = Rule._compile_builder

    def shared(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        if rule.defaults:
            return compile_builder(rule, append_unknown)  # contains their values as text
        # The function reads the rule's converters when it is called; it is made from nothing but this.
        key: Any = (rule.rule, tuple(rule._trace), append_unknown)
        if key not in compiled:
            compiled[key] = compile_builder(rule, append_unknown)
        return compiled[key]

    Rule._compile_builder = shared  # type: ignore[method-assign]
