"""Every way to say a date is read back by rules of its own and must give the date again."""

from __future__ import annotations

import re
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tether.agent.dates import MONTHS, WEEKDAYS, dated_forms, length_forms, relative_forms, span_forms

TODAYS = st.dates(date(2026, 1, 1), date(2027, 12, 31))
AWAY = st.integers(0, 300)
NIGHTS = st.integers(1, 14)
MONTH = "|".join(f"{month}|{month[:3]}\\.?" for month in MONTHS)


def month_number(name: str) -> int:
    return next(n for n, month in enumerate(MONTHS, start=1) if month.startswith(name.rstrip(".")))


def next_such(today: date, day: int, month: int | None) -> date:
    """The first day from today on with this number (and month)."""
    return next(
        candidate
        for away in range(366)
        if (candidate := today + timedelta(days=away)).day == day and month in (None, candidate.month)
    )


def read_date(text: str, today: date) -> date:
    if found := re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return date.fromisoformat(text)
    if found := re.search(rf"({MONTH}) (\d+)", text):
        return next_such(today, int(found[2]), month_number(found[1]))
    if found := re.search(rf"(\d+)(?:st|nd|rd|th)?(?: of)? ({MONTH})", text):
        return next_such(today, int(found[1]), month_number(found[2]))
    found = re.fullmatch(r"the (\d+)(st|nd|rd|th)", text)
    assert found, text
    return next_such(today, int(found[1]), None)


def read_relative(text: str, today: date) -> set[date]:
    """Every date that somebody could understand."""
    fixed = {
        "today": 0, "tonight": 0, "tomorrow": 1, "the day after tomorrow": 2, "a week from today": 7,
        "two weeks from today": 14,
    }  # fmt: skip
    if text in fixed:
        return {today + timedelta(days=fixed[text])}
    weekday = WEEKDAYS.index(text.split()[-1])
    coming = next(
        today + timedelta(days=n) for n in range(1, 8) if (today + timedelta(days=n)).weekday() == weekday
    )
    monday = today - timedelta(days=today.weekday())
    week = 1 if text.startswith("next") else 0
    # "This Friday" is that of this week; "next Friday" is to some that of next week, to some the first.
    readings = {coming} if "coming" in text else {coming, monday + timedelta(days=7 * week + weekday)}
    return readings


@given(TODAYS, AWAY)
def test_written_dates_have_one_reading(today: date, away: int) -> None:
    day = today + timedelta(days=away)
    forms = dated_forms(day, today)
    assert [read_date(form, today) for form in forms] == [day] * len(forms)


@given(TODAYS, st.integers(0, 20))
def test_relative_dates_have_one_reading(today: date, away: int) -> None:
    day = today + timedelta(days=away)
    for form in relative_forms(day, today):
        assert read_relative(form, today) == {day}


@given(TODAYS, AWAY, NIGHTS)
def test_spans_name_arrival_and_departure(today: date, away: int, nights: int) -> None:
    check_in = today + timedelta(days=away)
    for form in span_forms(check_in, nights):
        start, end = re.split(r" (?:to|until|through the morning of) ", form.removeprefix("from "))
        months = re.findall(MONTH, form)
        if len(months) == 1 and not re.search(MONTH, start):
            start = f"{start} of {months[0]}"
        if len(months) == 1 and not re.search(MONTH, end):
            end = f"{months[0]} {re.sub('[a-z ]', '', end)}"
        assert read_date(start, today) == check_in
        assert read_date(end, check_in) == check_in + timedelta(days=nights)


@given(NIGHTS)
def test_lengths_agree_in_number(nights: int) -> None:
    for form in length_forms(nights):
        assert form.endswith("nights") == (nights > 1) or form == "a week"
