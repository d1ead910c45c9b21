"""What the consumer's account says about what has arrived."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from cloud.ledger import Ledger, parcel_state
from contract.canonical import GENESIS
from contract.vocabulary import PARCEL_TRANSITIONS

UNIT = "/fleet/u1"


class Writer:
    """Writes events as a unit does."""

    def __init__(self) -> None:
        self.sequence = 0
        self.hash = GENESIS

    def event(self, type_: str = "parcel.loaded", subject: str = "parcel/P1", **data: Any) -> bytes:
        self.sequence += 1
        event = {
            "specversion": "1.0",
            "id": f"id-{self.sequence}-{type_}-{subject}",
            "source": UNIT,
            "type": f"org.kerbside.{type_}.v1",
            "subject": subject,
            "time": "2026-11-21T09:00:00.000Z",
            "sequence": f"{self.sequence:020d}",
            "lane": "events",
            "bootid": "boot",
            "uptimems": "1",
            "clocktrust": "ntp",
            "previoushash": self.hash,
            "data": data,
        }
        self.hash = hashlib.sha256(rfc8785.dumps(event)).hexdigest()
        return rfc8785.dumps({**event, "hash": self.hash})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "events.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def writer() -> Writer:
    return Writer()


def test_events_in_order_are_complete_and_their_chain_holds(ledger: Ledger, writer: Writer) -> None:
    ledger.add(writer.event() for _ in range(20))
    report = ledger.report()
    assert (report["events_received"], report["last_sequence"]) == (20, 20)
    assert (report["gaps"], report["duplicates_removed"], report["chain_intact"]) == (0, 0, True)


def test_the_same_event_again_is_counted_and_kept_once(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(3)]
    ledger.add(events)
    ledger.add([events[1], events[1], events[2]])
    report = ledger.report()
    assert (report["events_received"], report["duplicates_removed"]) == (3, 3)
    assert report["chain_intact"]


def test_the_order_of_arrival_does_not_matter(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(50)]
    for event in reversed(events):
        ledger.add([event])
    report = ledger.report()
    assert (report["gaps"], report["chain_intact"]) == (0, True)


def test_a_missing_event_is_a_gap_and_is_named(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(10)]
    ledger.add(events[:3] + events[5:])
    report = ledger.report()
    assert report["gaps"] == 1
    assert report["missing"] == [[UNIT, 4, 5]]
    assert ledger.account(UNIT).through == 3


def test_events_missing_at_the_beginning_are_a_gap_too(ledger: Ledger, writer: Writer) -> None:
    ledger.add([writer.event() for _ in range(5)][2:])
    assert ledger.report()["missing"] == [[UNIT, 1, 2]]


def test_a_consumer_that_came_later_may_say_where_it_begins(tmp_path: Path, writer: Writer) -> None:
    late = Ledger(tmp_path / "late.sqlite", from_sequence=3)
    late.add([writer.event() for _ in range(5)][2:])
    report = late.report()
    late.close()
    assert (report["gaps"], report["chain_intact"]) == (0, True)


def test_an_altered_event_breaks_the_chain(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(4)]
    events[2] = events[2].replace(b'"P1"', b'"P2"').replace(b"parcel/P1", b"parcel/P9")
    ledger.add(events)
    report = ledger.report()
    assert not report["chain_intact"]
    assert "event 3" in report["breaks"][0]


def test_an_event_that_does_not_continue_the_one_before_breaks_the_chain(ledger: Ledger, writer: Writer) -> None:
    first = writer.event()
    writer.hash = "f" * 64
    ledger.add([first, writer.event()])
    report = ledger.report()
    assert not report["chain_intact"]
    assert "event 2 does not continue event 1" in report["breaks"][0]


def test_two_events_with_one_sequence_number_break_the_chain(ledger: Ledger, writer: Writer) -> None:
    first = writer.event()
    writer.sequence, writer.hash = 0, GENESIS
    ledger.add([first, writer.event(subject="parcel/OTHER")])
    report = ledger.report()
    assert not report["chain_intact"]
    assert "two events have the sequence 1" in report["breaks"][0]


def test_the_same_id_with_other_bytes_is_no_plain_duplicate(ledger: Ledger, writer: Writer) -> None:
    event = writer.event()
    ledger.add([event, event.replace(b"boot", b"BOOT")])
    assert not ledger.report()["chain_intact"]


def test_a_recovery_declares_its_gap(ledger: Ledger, writer: Writer) -> None:
    ledger.add(writer.event() for _ in range(5))
    last, last_hash = writer.sequence, writer.hash
    writer.sequence = 1000
    ledger.add(
        [
            writer.event(
                "unit.journal_recovered",
                "unit",
                last_sequence=last,
                last_hash=last_hash,
                next_sequence=1001,
                lost={"events": []},
            ),
            writer.event(),
        ]
    )
    report = ledger.report()
    assert (report["gaps"], report["chain_intact"]) == (0, True)
    assert report["declared_gaps"] == [[UNIT, 6, 1000]]
    assert ledger.account(UNIT).through == 1002


def test_events_that_the_unit_lost_after_sending_them_do_no_harm(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(3)]
    last_hash = writer.hash
    events += [writer.event() for _ in range(4)]  # sent, then lost on the unit
    writer.sequence, writer.hash = 1000, last_hash
    recovered = writer.event(
        "unit.journal_recovered", "unit", last_sequence=3, last_hash=last_hash, next_sequence=1001, lost={"events": []}
    )
    ledger.add([*events, recovered])
    report = ledger.report()
    assert (report["gaps"], report["chain_intact"], report["events_received"]) == (0, True, 8)


def test_a_recovery_excuses_nothing_but_what_it_declares(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(10)]
    last_hash = writer.hash
    writer.sequence = 1000
    recovered = writer.event(
        "unit.journal_recovered",
        "unit",
        last_sequence=10,
        last_hash=last_hash,
        next_sequence=1001,
        lost={"events": [[4, 5]]},
    )
    ledger.add([*events[:2], *events[6:], recovered])
    assert ledger.report()["missing"] == [[UNIT, 3, 3], [UNIT, 6, 6]]


def test_a_recovery_that_continues_another_event_breaks_the_chain(ledger: Ledger, writer: Writer) -> None:
    ledger.add(writer.event() for _ in range(5))
    writer.sequence, writer.hash = 1000, "e" * 64
    ledger.add(
        [writer.event("unit.journal_recovered", "unit", last_sequence=5, last_hash="e" * 64, next_sequence=1001)]
    )
    assert not ledger.report()["chain_intact"]


def test_parcels_are_counted_by_the_state_their_events_lead_to(ledger: Ledger, writer: Writer) -> None:
    told = {
        "parcel/A": ["parcel.manifested", "parcel.loaded", "parcel.out_for_delivery", "parcel.delivered"],
        "parcel/B": ["parcel.manifested", "parcel.missing_at_load", "parcel.found"],
        "parcel/C": ["parcel.manifested", "parcel.recalled"],
        "parcel/D": ["parcel.manifested", "parcel.loaded", "parcel.recalled"],
        "parcel/E": ["parcel.manifested", "parcel.loaded", "parcel.not_in_vehicle", "parcel.found"],
        "parcel/F": ["parcel.unexpected", "parcel.handed_back"],
    }
    ledger.add(writer.event(type_, subject) for subject, types in told.items() for type_ in types)
    assert ledger.report()["parcels"] == {
        "DELIVERED": 1,
        "HANDED_BACK": 1,
        "LOADED": 1,
        "OUT_FOR_DELIVERY": 1,
        "RECALLED_CLOSED": 1,
        "RETURN_PENDING": 1,
    }


@pytest.mark.parametrize(("step", "after"), PARCEL_TRANSITIONS.items())
def test_an_event_leads_to_the_state_that_the_contract_says(step: tuple[str, str], after: str) -> None:
    before, event = step
    assert parcel_state(event, before) == after


def test_an_event_counts_although_the_one_before_it_is_missing_where_it_can_only_lead_to_one_state() -> None:
    assert parcel_state("parcel.delivered", None) == "DELIVERED"
    assert parcel_state("parcel.found", None) is None
    assert parcel_state("parcel.unheard_of", "LOADED") is None


def test_a_float_that_looks_like_a_large_whole_number_does_not_break_the_hash(ledger: Ledger, writer: Writer) -> None:
    ledger.add([writer.event(figure=1e16)])
    report = ledger.report()
    assert (report["events_received"], report["unreadable"], report["chain_intact"]) == (1, 0, True)


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b'{"id": 1}', b"\xff" * 100, b"[" * 10_000])
def test_what_is_no_event_is_counted_and_changes_nothing(ledger: Ledger, writer: Writer, payload: bytes) -> None:
    ledger.add([writer.event(), payload])
    report = ledger.report()
    assert (report["events_received"], report["unreadable"], report["chain_intact"]) == (1, 1, True)


def test_a_batch_that_fails_leaves_nothing_behind(ledger: Ledger, writer: Writer) -> None:
    def broken() -> Iterator[bytes]:
        yield writer.event()
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        ledger.add(broken())
    assert ledger.report()["events_received"] == 0
