"""A driver's own words on a whole unit: not in what is sent, not on the disk, not in the log."""

from __future__ import annotations

from tests.agent.heard import hearing
from tests.agent.running_agent import World, begin_loading, tracking_numbers, until

NAME, TELEPHONE = "Erika Musterfrau", "0151 23456789"
WORDS = f"{NAME}, {TELEPHONE}"


def test_what_a_driver_types_in_words_is_shown_and_neither_sent_nor_kept(world: World) -> None:
    heard = world.stack.enter_context(hearing(world.broker))
    agent = world.agent()
    agent.start_ready()
    screen = agent.screen
    numbers = tracking_numbers(2)
    begin_loading(world, agent, numbers)
    until(screen, lambda seen: seen["unit"]["parts"]["handheld"]["state"] == "ready", "the scanner")
    parcels = {parcel["tracking_number"]: parcel["parcel_id"] for parcel in (screen.state() or {})["parcels"]}
    for text in (f"BEGIN:VCARD N:{NAME} TEL:{TELEPHONE}", "4006381333931", WORDS):
        world.scanner.scan(text)
    until(screen, lambda seen: (seen["feedback"] or {}).get("code") == "OTHER_CODE", "the word of the scans")
    for action, arguments in (
        ("scan", {"code": WORDS}),
        ("annotate", {"item": NAME, "text": WORDS}),
        ("mark_missing", {"parcel_id": parcels[numbers[0]], "reason": WORDS}),
        ("transfer", {"parcel_ids": [parcels[numbers[1]]], "driver_id": NAME}),
        ("tag_stop", {"kind": WORDS}),
        (WORDS, {}),
    ):
        assert screen.act(action, **arguments), f"the unit went away at {action}"
    shown = screen.state()
    assert shown
    assert [note["text"] for note in shown["notes"]] == [WORDS]
    heard.wait("parcel.missing_at_load", reason="OTHER")
    heard.wait("item.annotated", item="other", noted=True)
    assert not heard.of("parcel.unexpected")
    assert shown["scorecard"]["load_accuracy"]["numerator"] == shown["scorecard"]["load_accuracy"]["denominator"]
    agent.stop()
    heard.wait("status", state="offline")

    told = b"".join(message.payload for message in heard.messages if "/inbox/" not in message.topic)
    kept = b"".join(path.read_bytes() for path in agent.state_dir.rglob("*") if path.is_file())
    for part in ("Musterfrau", "MUSTERFRAU", "23456789"):
        assert part.encode() not in told
        assert part.encode() not in kept
        assert part not in agent.log()
