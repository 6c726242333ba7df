"""What a PromQL expression needs of the metrics, and which labels its result has, by a real parser of PromQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape", "labels_of", "metrics_of", "scraped"]

#: Name of a sample -> its labels.
Scrape = Mapping[str, frozenset[str]]


def scraped(text: str) -> Scrape:
    """The samples of an answer of /metrics."""
    families = text_string_to_metric_families(text)
    return {sample.name: frozenset(sample.labels) for family in families for sample in family.samples}


def metrics_of(expression: str) -> set[str]:
    """The samples that it reads."""
    names: set[str] = set()

    def visit(part: promql.Expr) -> bool:
        if isinstance(part, promql.VectorSelector):
            names.add(part.name)
        return True

    promql.walk(promql.parse(expression), visit)
    return names


def labels_of(expression: str, scrape: Scrape) -> frozenset[str]:
    """The labels of the result, `instance` and `job` of the scrape left out.

    Raises `AssertionError` for a sample that is not scraped and for a label that it does not have, `ValueError` for
    what is no PromQL.
    """
    return _labels(promql.parse(expression), scrape)


def _labels(part: promql.Expr, scrape: Scrape) -> frozenset[str]:
    match part:
        case promql.VectorSelector():
            assert part.name in scrape, f"not scraped: {part.name}"
            _require((matcher.name for matcher in part.matchers.matchers), scrape[part.name])
            return scrape[part.name]
        case promql.MatrixSelector():
            return _labels(part.vector_selector, scrape)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(part.expr, scrape)
        case promql.AggregateExpr():
            return _aggregated(part, _labels(part.expr, scrape))
        case promql.BinaryExpr():
            sides = [_labels(side, scrape) for side in (part.lhs, part.rhs)]
            assert not all(sides) or sides[0] == sides[1], f"labels of the two sides differ: {part.prettify()}"
            return max(sides, key=len)
        case promql.Call():
            labels = frozenset[str]().union(*(_labels(argument, scrape) for argument in part.args))
            if part.func.name != "histogram_quantile":
                return labels
            _require(["le"], labels)
            return labels - {"le"}
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
    raise AssertionError(f"unknown part: {type(part).__name__}")


def _aggregated(part: promql.AggregateExpr, inner: frozenset[str]) -> frozenset[str]:
    if part.modifier is None:
        return frozenset()
    named = frozenset(part.modifier.labels)
    _require(named, inner)
    return named if part.modifier.type == promql.AggModifierType.By else inner - named


def _require(names: Iterable[str], known: frozenset[str]) -> None:
    missing = set(names) - known
    assert not missing, f"no such label: {sorted(missing)}; there are {sorted(known)}"
