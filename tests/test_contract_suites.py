"""The contract suites see the faults that they are for: each runs here over a vendor that was broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bridge.errors import Unreadable, VendorFault
from bridge.registry import vendors
from bridge.sdk.vendor import Page, Poll, Vendor
from tests.contract import test_api_trouble, test_attempts, test_polling, test_published_once
from tests.support.contract.stage import Clock, Stage, connect, contract_of


def stage_of(vendor: Vendor) -> Stage:
    return connect(vendor, next(iter(contract_of(vendor).VARIANTS.values())), Clock())


def broken(name: str, change: Callable[[Vendor, Poll], Any], member: str) -> Stage:
    """The first variant of a vendor, with `member` of its first stream changed."""
    vendor = vendors()[name]
    stream = stage_of(vendor).stream
    poll = vendor.polls[stream]
    return stage_of(replace(vendor, polls={**vendor.polls, stream: replace(poll, **{member: change(vendor, poll)})}))


def refuses_a_page_for_a_row(vendor: Vendor, poll: Poll) -> Callable[..., Page]:
    options = stage_of(vendor).options

    def fetch(client: Any, cursor: str | None) -> Page:
        page = poll.fetch(client, cursor)
        for record in page.records:
            vendor.normalise(record, Clock().now, options)
        return page

    return fetch


def drops_what_it_cannot_read(vendor: Vendor, poll: Poll) -> Callable[..., Page]:
    options = stage_of(vendor).options

    def is_readable(record: Any) -> bool:
        try:
            vendor.normalise(record, Clock().now, options)
        except Unreadable:
            return False
        return True

    def fetch(client: Any, cursor: str | None) -> Page:
        page = poll.fetch(client, cursor)
        return replace(page, records=[record for record in page.records if is_readable(record)])

    return fetch


def goes_back_half_as_far(_vendor: Vendor, _poll: Poll) -> Callable[[str, float], str]:
    def rewind(cursor: str, _overlap: float) -> str:
        return str(int(cursor) - 30)

    return rewind


def goes_on_after_a_loop(_vendor: Vendor, poll: Poll) -> Callable[..., Page]:
    def fetch(client: Any, cursor: str | None) -> Page:
        try:
            return poll.fetch(client, cursor)
        except VendorFault:
            return Page(records=(), cursor=f"{int(cursor or 0) - 9_000}", more=True)

    return fetch


def test_a_page_that_is_lost_for_one_row_is_seen():
    stage = broken("classmarker", refuses_a_page_for_a_row, "fetch")

    with pytest.raises(pytest.fail.Exception, match="raises Unreadable for one row that cannot be read"):
        test_polling.test_rows_that_cannot_be_read_cost_no_other_row_of_their_page(stage, stage.stream)


@pytest.mark.parametrize(
    ("suite", "line"),
    [
        (test_polling.test_rows_that_cannot_be_read_cost_no_other_row_of_their_page, "`fetch` drops rows"),
        (
            test_polling.test_more_results_of_one_second_than_a_page_holds_are_read_or_reported,
            "no record that normalise refuses reports the rows of a second",
        ),
    ],
)
def test_rows_that_disappear_without_a_record_are_seen(suite, line):
    stage = broken("classmarker", drops_what_it_cannot_read, "fetch")

    with pytest.raises(pytest.fail.Exception, match=line):
        suite(stage, stage.stream)


def test_an_overlap_shorter_than_rows_are_late_is_seen():
    stage = broken("classmarker", goes_back_half_as_far, "rewind")

    with pytest.raises(pytest.fail.Exception, match="`rewind` goes back less than visible_after, 60 s"):
        test_polling.test_a_row_that_the_api_shows_late_is_read_by_the_next_round(stage, stage.stream)


def test_a_round_without_end_is_seen():
    stage = broken("classmarker", goes_on_after_a_loop, "fetch")

    with pytest.raises(pytest.fail.Exception, match="read 50 times"):
        test_api_trouble.test_an_api_that_ignores_what_it_is_asked_for_does_not_keep_a_round_for_ever(stage)


def test_one_member_that_differs_between_the_paths_is_seen():
    vendor = vendors()["mettl"]

    def normalise(record, now, options):
        attempt = vendor.normalise(record, now, options)
        # Only webhooks name the sitting.
        name = attempt.assessment.name if attempt.sitting is None else None
        return replace(attempt, assessment=replace(attempt.assessment, name=name))

    stage = stage_of(replace(vendor, normalise=normalise))

    with pytest.raises(AssertionError):
        test_attempts.test_one_sitting_is_the_same_attempt_and_the_same_news_by_both_paths(stage, stage.stream)


def test_a_folder_that_reads_more_than_the_operator_listed_is_seen(state):
    vendor = vendors()["coremetrix"]

    def everything(options):
        return {**options, "quiz_ids": ()}

    deaf = replace(
        vendor,
        split=lambda body, options: vendor.split(body, everything(options)),
        normalise=lambda record, now, options: vendor.normalise(record, now, everything(options)),
        connect=lambda source, calls: vendor.connect(replace(source, options=everything(source.options)), calls),
    )

    with pytest.raises(AssertionError):
        test_published_once.test_a_webhook_about_what_the_operator_left_out_publishes_nothing(stage_of(deaf), state)
