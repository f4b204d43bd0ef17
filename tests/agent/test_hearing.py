from __future__ import annotations

import pytest

from tether.agent.hearing import Ear, refuses

HOTELS, CITIES = ("The Drake", "Tower Hotel"), ("Porto", "Prague", "Zagreb")


@pytest.mark.parametrize(
    ("intent", "text", "kind"),
    [
        ("book", "Sure! What city will you be visiting?", "ask"),
        ("book", "Great. When will you be arriving, and how long would you like to stay?", "ask"),
        ("book", "Could you tell me how many guests will be staying?", "ask"),
        (
            "book",
            "I found two: The Drake at $90 a night and Tower Hotel at $110. Which do you prefer?",
            "offer",
        ),
        ("book", "Nothing fits your budget. The closest is The Drake at $120. Is that OK?", "nearest"),
        ("book", "The stay at The Drake comes to $240 in total. Would you like me to go ahead?", "confirm"),
        ("book", "The total is $240 for 2 nights at The Drake. Shall I confirm the reservation?", "confirm"),
        ("book", "Your reservation has been confirmed! Your reference is B12345.", "booked"),
        ("book", "I've booked The Drake for you.", "booked"),
        ("book", "The room is not booked yet. Shall I book The Drake?", "offer"),
        ("book", "Unfortunately we don't have hotels in Zagreb. We do in Porto.", "no_city"),
        ("book", "I'm sorry, everything is sold out on these days.", "nothing"),
        ("book", "Is there anything else I can help you with?", "more"),
        ("book", "Hello! How may I assist you today?", "greet"),
        ("book", "Goodbye, and have a nice day!", "bye"),
        ("book", "The mitochondria is the powerhouse of the cell.", "lost"),
        ("book", "", "lost"),
        ("cancel", "Are you sure that you want to cancel this booking?", "confirm_cancel"),
        ("cancel", "Your booking has been cancelled, $80 will be refunded.", "cancelled"),
        ("cancel", "I couldn't find that booking. Is the reference right?", "not_found"),
        ("change", "Your booking has been updated: 3 nights, $300 in total.", "changed"),
        ("change", "I'm afraid the hotel is fully booked then.", "cannot_change"),
        ("change", "What would you like to change?", "ask"),
    ],
)
def test_what_models_say_is_understood(intent: str, text: str, kind: str) -> None:
    assert Ear(intent, HOTELS, CITIES).hear(text).kind == kind


def test_a_hotel_that_is_full_is_not_on_offer() -> None:
    heard = Ear("book", HOTELS, CITIES).hear(
        "Tower Hotel is sold out. There is The Drake. Does that suit you?"
    )
    assert (heard.kind, heard.hotels) == ("offer", ("The Drake",))


def test_what_is_asked_and_named_is_read() -> None:
    ear = Ear("book", HOTELS, CITIES)
    assert ear.hear("When do you arrive, and for how many nights?").asks == ("check_in", "nights")
    assert ear.hear("Tower Hotel ($90) or The Drake ($1,200)?").hotels == ("Tower Hotel", "The Drake")
    assert ear.hear("Tower Hotel ($90) or The Drake ($1,200)?").prices == (90, 1200)
    assert ear.hear("Shall I book it, and under which name?", quoted=True).asks_name


@pytest.mark.parametrize("text", ["I can't share that.", "No, that is private.", "I’m not able to do that."])
def test_a_refusal_is_recognised(text: str) -> None:
    assert refuses(text)
    assert not refuses("Of course, it is done.")
