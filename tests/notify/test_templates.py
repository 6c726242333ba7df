"""Templates of messages: what they can do, and that none runs long, grows large or reaches Python."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.notify.templates import Link, Template, TemplateProblem

DATA = {
    "sections": [{"name": "A", "score": 1.5}, {"name": "B", "score": None}],
    "none": None,
    "time": "2026-11-20T14:52:41.000Z",
    "report": "https://vendor.example/report?id=1",
    "many": list(range(40)),
}


def rendered(source: str, *, most: int = 200) -> str:
    values = {"data": DATA, "link": Link("https://bridge.example/ui/")}
    return Template(source).render(values, safe=lambda text: f"«{text}»", most=most)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a {{ data.none }}b", "a b"),
        ("{{ data.none or 'x' }}", "«x»"),
        ("{{ data.time|time }} {{ data.none|time }}", "«2026-11-20 14:52 UTC» «-»"),
        ("{% for each in data.sections %}{{ loop.index }}{{ each.score|number }}{% endfor %}", "«1»«1.5»«2»«-»"),
        ("{{ data.sections|map(attribute='name')|join(', ') }}", "«A, B»"),
        ("{{ data.sections|length + 1 }}{{ 7|round(-99) }}", "«3»«7.0»"),
        ("{% if data.missing is defined %}x{% else %}y{% endif %}", "y"),
        ("{{ link }} {{ data.report|link }}", "https://bridge.example/ui/ https://vendor.example/report?id=1"),
        ("{{ 'http://vendor.example'|link }} {{ 'https://x|y'|link }}", "«http://vendor.example» «https://x|y»"),
    ],
)
def test_values_are_printed_safely_and_links_as_they_are(source: str, text: str) -> None:
    assert rendered(source) == text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ range(9) }}", "line 1: a call is not available"),
        ("{% for a in range(999999) %}{% for b in range(999999) %}{% endfor %}{% endfor %}", "a call is not available"),
        ("\n{{ 'a' * 999999999 }}", "line 2: * is not available"),
        ("{{ 9 ** 999999999 }}", "** is not available"),
        ("{{ '%999999999d' % 1 }}", "% is not available"),
        ("{% set a = data ~ data %}", "set is not available"),
        ("{% macro a() %}{{ a() }}{% endmacro %}", "Macro is not available"),
        ("{% for a in [data, data] %}{% endfor %}", "a loop goes over a member of the event"),
        ("{% for a in data.x ~ data.x %}{% endfor %}", "a loop goes over a member of the event"),
        ("{% for a in data recursive %}{% endfor %}", "recursive"),
        ("{% for a in x %}" * 4 + "{% endfor %}" * 4, "loops are nested deeper than 3"),
        ("{{ [data.time]|join(data.time) }}", "join takes only text"),
        ("{{ data.sections|map('join', 'xxx') }}", "map takes only attribute="),
        ("{{ 'a'|replace('a', 'b') }}", 'filter "replace" is not available'),
        ("{{ data|_each }}", 'filter "_each" is not available'),
        ("{{ _budget }}{{ self }}", "_budget is not available"),
        ("{{ data.time.format(1) }}", "a call is not available"),
        ("{% include 'x' %}", "Include is not available"),
        ("{{ data.", "is not a valid template: line 1"),
        ("{{ " + "(" * 900 + "1" + ")" * 900 + " }}", "is nested too deeply"),
        ("x" * 4001, "has 4001 characters. Remedy: at most 4000"),
    ],
)
def test_what_could_run_long_or_grow_large_is_refused_before_it_runs(source: str, said: str) -> None:
    with pytest.raises(TemplateProblem) as refused:
        Template(source)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ data.nme }}", "'dict object' has no attribute 'nme'"),
        ("{{ data.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "cannot be rendered: ZeroDivisionError"),
        ("{{ data.sections|sort(attribute='score') }}", "cannot be rendered: TypeError"),
        (
            "{% for a in data.many %}{% for b in data.many %}{% endfor %}{% endfor %}",
            "loops over more than 1000 items",
        ),
    ],
)
def test_what_cannot_be_rendered_says_why_without_the_values(source: str, said: str) -> None:
    with pytest.raises(TemplateProblem) as refused:
        rendered(source)
    assert said in str(refused.value)


def test_a_long_text_is_cut_while_it_is_made() -> None:
    source = "{% for a in data.many %}{{ data.time }}{% endfor %}"
    assert len(rendered(source, most=100)) == 100
    assert rendered(source, most=100).endswith("…")


_WORDS = (
    "{{ }} {% %} data .many | list join ( ) for a in endfor ~ 'x' if endif [ ] , * ** 9 sum map attribute= else not"
)


@given(st.lists(st.sampled_from(_WORDS.split()), max_size=14))
def test_any_template_is_refused_or_ends_with_a_short_text(parts: list[str]) -> None:
    with suppress(TemplateProblem):
        assert len(rendered(" ".join(parts))) <= 200
