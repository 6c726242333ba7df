"""The API's description as a page: made on the server from the OpenAPI document, without scripts or other hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from flask import Blueprint, Response
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from bridge.web.api.description import DescribedApi

__all__ = ["page_blueprint", "render"]

_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_CODE = re.compile(r"`([^`]+)`")


def page_blueprint(api: DescribedApi) -> Blueprint:
    """`/api/v1/` and its style sheet."""
    page = Blueprint("page", __name__, url_prefix="/api/v1")

    @page.get("/", strict_slashes=False)
    def show() -> Response:
        headers = {"Content-Security-Policy": _POLICY}
        return Response(render(api.description()), content_type="text/html; charset=utf-8", headers=headers)

    @page.get("/page.css")
    def style() -> Response:
        return Response(_text("page.css"), content_type="text/css; charset=utf-8")

    return page


def render(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document. Its texts are escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["code"] = _with_code
    components = document.get("components", {})
    return environment.from_string(_text("page.html")).render(
        title=document["info"]["title"],
        version=document["info"]["version"],
        openapi=document["openapi"],
        about=document["info"].get("description", "").split("\n\n"),
        groups=list(_groups(document)),
        schemas=[_schema(name, schema) for name, schema in sorted(components.get("schemas", {}).items())],
    )


@cache
def _text(name: str) -> str:
    return files("bridge.web.api").joinpath(name).read_text(encoding="utf-8")


def _with_code(text: str) -> Markup:
    """The text, with what is between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - all of it is escaped


def _groups(document: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    components = document.get("components", {})
    about = {tag["name"]: tag.get("description", "") for tag in document.get("tags", ())}
    operations: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        shared = methods.get("parameters", [])
        for method, operation in methods.items():
            if method != "parameters":
                name = (operation.get("tags") or ["other"])[0]
                operations.setdefault(name, []).append(_operation(path, method, operation, shared, components))
    for name, members in operations.items():
        yield {"name": name, "about": about.get(name, ""), "operations": members}


def _operation(
    path: str, method: str, operation: Mapping[str, Any], shared: list[Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    body: Mapping[str, Any] = next(iter(operation.get("requestBody", {}).get("content", {}).values()), {})
    parameters = [_resolved(each, components) for each in (*shared, *operation.get("parameters", ()))]
    answers = {str(status): _resolved(answer, components) for status, answer in operation["responses"].items()}
    return {
        "path": path,
        "method": method.upper(),
        "id": operation["operationId"],
        "summary": operation.get("summary", operation["operationId"]),
        "about": operation.get("description", ""),
        "parameters": [
            _member(f"{each['name']} ({each['in']})", each.get("schema", {}), each.get("required", False), each)
            for each in parameters
        ],
        "body": _members(_resolved(body.get("schema", {}), components)),
        "answers": [
            {"status": status, "meaning": answer.get("description", ""), "schema": _answer_schema(answer)}
            for status, answer in sorted(answers.items())
            if status.isdigit()
        ],
    }


def _answer_schema(answer: Mapping[str, Any]) -> str:
    content: Mapping[str, Any] = next(iter(answer.get("content", {}).values()), {})
    return _name(content.get("schema", {}))


def _schema(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "about": schema.get("description", ""), "members": _members(schema)}


def _members(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [_member(name, member, name in required, member) for name, member in schema.get("properties", {}).items()]


def _member(name: str, schema: Mapping[str, Any], required: bool, described: Mapping[str, Any]) -> dict[str, Any]:
    meaning = described.get("description", "") or schema.get("description", "")
    return {"name": name, "type": _type(schema), "required": required, "meaning": meaning}


def _type(schema: Mapping[str, Any]) -> str:
    """The type in a few words: `string or null`, `list of WatchRow`, `one of open, overdue`."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if reference := _name(schema):
        return reference
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if options and "type" not in schema:
        return " or ".join(dict.fromkeys(_type(option) for option in options))
    types = schema.get("type", "any")
    return " or ".join(types) if isinstance(types, list) else str(types)


def _name(schema: Mapping[str, Any]) -> str:
    """The component that a schema refers to, "" if it refers to none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _resolved(node: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = str(node.get("$ref", "")).removeprefix("#/components/")
    if not reference:
        return node
    kind, _, name = reference.partition("/")
    resolved: Mapping[str, Any] = components.get(kind, {}).get(name, {})
    return resolved
