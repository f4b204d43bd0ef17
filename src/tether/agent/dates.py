"""How people say when they come: dates and lengths of stay in words, each with one right reading.

A form is only offered where it cannot be read in two ways, given today. A date without a year is the next one
of that name; "next Friday" is only said where the coming Friday lies in the next calendar week.
"""

from __future__ import annotations

from datetime import date, timedelta

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def month_day(day: date) -> str:
    """The date as the agent says it, such as "December 7"."""
    return f"{MONTHS[day.month - 1]} {day.day}"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, ..."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def count(number: int, noun: str) -> str:
    """A small number in words with its noun: "one night", "four nights"."""
    word = NUMBERS[number] if number < len(NUMBERS) else str(number)
    return f"{word} {noun}" if number == 1 else f"{word} {noun}s"


def dated_forms(day: date, today: date) -> list[str]:
    """Ways to write the date that can follow "on" or "from"."""
    month, short = MONTHS[day.month - 1], MONTHS[day.month - 1][:3]
    dot = "" if month == "May" else "."
    forms = [
        f"{month} {day.day}",
        f"{short}{dot} {day.day}",
        f"{month} {ordinal(day.day)}",
        f"the {ordinal(day.day)} of {month}",
        f"{day.day} {month}",
        f"{WEEKDAYS[day.weekday()]}, {month} {day.day}",
        day.isoformat(),
    ]
    if day > today and day.month == today.month:
        forms.append(f"the {ordinal(day.day)}")
    return forms


def relative_forms(day: date, today: date) -> list[str]:
    """The date as seen from today ("tomorrow", "next Friday"), for use without a preposition; may be none."""
    away = (day - today).days
    name = WEEKDAYS[day.weekday()]
    forms = {
        0: ["today", "tonight"],
        1: ["tomorrow"],
        2: ["the day after tomorrow"],
        7: ["a week from today"],
        14: ["two weeks from today"],
    }.get(away, [])
    if 1 < away < 7:
        this_week = day.isocalendar()[:2] == today.isocalendar()[:2]
        forms = [*forms, f"this {name}"] if this_week else [*forms, f"next {name}", f"this coming {name}"]
    return forms


def span_forms(check_in: date, nights: int) -> list[str]:
    """Arrival and departure in one phrase, such as "from the 3rd to the 6th of May"."""
    out = check_in + timedelta(days=nights)
    month, first, last = MONTHS[check_in.month - 1], ordinal(check_in.day), ordinal(out.day)
    forms = [
        f"from {check_in.isoformat()} to {out.isoformat()}",
        f"from {month_day(check_in)} until {month_day(out)}",
    ]
    if check_in.month != out.month:
        return [*forms, f"from the {first} of {month} to the {last} of {MONTHS[out.month - 1]}"]
    return [
        *forms,
        f"from the {first} to the {last} of {month}",
        f"from {month} {check_in.day} to {out.day}",
        f"from {month} {first} through the morning of the {last}",
    ]


def length_forms(nights: int) -> list[str]:
    """How long, without a preposition: "four nights", "4 nights", "a week"."""
    forms = [count(nights, "night"), f"{nights} night{'s' * (nights > 1)}"]
    return [*forms, "a week"] if nights == 7 else forms
