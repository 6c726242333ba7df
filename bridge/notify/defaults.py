"""The default templates of messages, and which of an operator's replaces which. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from schemas.event import ATTEMPT_TYPES
from schemas.notices import ALARM_TYPES, CONSENT_WITHDRAWN, OVERDUE, SUBSCRIPTION_TYPES, TEST

__all__ = ["DEFAULT_TYPES", "DIGEST", "TEMPLATES", "MessageTemplate", "chosen"]

#: What a notify subscription takes if its filter names no types: what an operator has to know, and no attempts.
DEFAULT_TYPES = (*ALARM_TYPES, *SUBSCRIPTION_TYPES, OVERDUE)
#: Name of the template of a message about several events.
DIGEST = "digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTemplate:
    """Sources of templates; None: the default."""

    title: str | None = None
    body: str | None = None


_ALARM = MessageTemplate(
    title="{{ source }}: {{ 'recovered: ' if data.alarm.state == 'recovered' else '' }}{{ data.alarm.fact }}",
    body="""{{ data.alarm.value }}
Since: {{ data.alarm.since|time }}
Remedy: {{ data.alarm.remedy }}
{{ link }}""",
)
_SUBSCRIPTION = MessageTemplate(
    title="Subscription {{ data.subscription.name }}: "
    "{{ 'recovered: ' if type == 'subscription.recovered' else '' }}{{ data.subscription.fact }}",
    body="""{{ data.subscription.value }}
Since: {{ data.subscription.since|time }}
Remedy: {{ data.subscription.remedy }}
{{ link }}""",
)
_OVERDUE = MessageTemplate(
    title="{{ source }}: overdue: {{ data.watch.label or data.watch.key }}",
    body="""No result has come by {{ data.watch.deadline|time }}; the vendor was asked {{ data.watch.looks }} times.
Attempt: {{ data.watch.key }} ({{ data.watch.kind }}), watched since {{ data.watch.opened_at|time }}
Remedy: ask the candidate or the vendor; a result that comes later is still published.
{{ link }}""",
)
_CONSENT = MessageTemplate(
    title="{{ source }}: consent withdrawn",
    body="""{{ data.consent.attempts_voided }} published attempts were voided.
Withdrawn: {{ data.consent.withdrawn_at|time }}
{{ link }}""",
)
_ATTEMPT = MessageTemplate(
    title="{{ assessment or 'Attempt' }}: {{ outcome }}{{ ', revised' if type == 'attempt.revised' else '' }}",
    body="""Candidate: {{ candidate or 'not named' }}
{% if score %}
Result: {{ score }}
{% endif %}
Attempt: {{ data.attempt.id }} of {{ source }}, revision {{ data.attempt.revision }}
{{ link }}""",
)
_TEST = MessageTemplate(title="Test of subscription {{ data.test.subscription }}", body="{{ data.test.text }}")
_DIGEST = MessageTemplate(
    title="{{ count }} events{% if attempts == count %}, all of them attempts{% endif %}",
    body="""{% if attempts %}
{{ attempts }} attempts: {{ passed }} passed, {{ failed }} failed, {{ attempts - passed - failed }} neither
{% endif %}
{% for each in types %}
{{ each.type }}: {{ each.count }} ({{ each.sources|join(', ') }})
{% endfor %}
{% for each in titles %}
- {{ each }}
{% endfor %}
From {{ since|time }} to {{ until|time }}
{{ link }}""",
)

TEMPLATES: Mapping[str, MessageTemplate] = {
    **dict.fromkeys(ALARM_TYPES, _ALARM),
    **dict.fromkeys(SUBSCRIPTION_TYPES, _SUBSCRIPTION),
    OVERDUE: _OVERDUE,
    CONSENT_WITHDRAWN: _CONSENT,
    **dict.fromkeys(ATTEMPT_TYPES, _ATTEMPT),
    TEST: _TEST,
    DIGEST: _DIGEST,
}


def chosen(own: Mapping[str, MessageTemplate], name: str) -> MessageTemplate:
    """The operator's template for a type, or for `digest`: by its name, or by the first pattern that fits."""
    if name in own:
        return own[name]
    patterns = (pattern for pattern in own if name != DIGEST and fnmatchcase(name, pattern))
    return own.get(next(patterns, ""), MessageTemplate())
