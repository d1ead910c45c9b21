"""What the consumer's account says about what has arrived."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from cloud.intake import Intake, Message, Unreadable
from cloud.ledger import MAX_KEPT_ASIDE, Ledger, LedgerError, parcel_state
from contract.canonical import GENESIS
from contract.vocabulary import PARCEL_TRANSITIONS

UNIT = "/fleet/u1"
INTAKE = Intake("kerbside")


def event_id(seed: str) -> str:
    """A UUIDv7 that follows from a text."""
    noise = hashlib.sha256(seed.encode()).hexdigest()
    return f"0193a1b2-{noise[:4]}-7{noise[4:7]}-8{noise[7:10]}-{noise[10:22]}"


def arrived(
    payloads: Iterable[bytes], topic: str = f"kerbside{UNIT}/events/parcel/loaded"
) -> Iterator[Message | Unreadable]:
    """As the consumer hands over what came."""
    return (INTAKE.read(topic, payload) for payload in payloads)


class Writer:
    """Writes events as a unit does."""

    def __init__(self) -> None:
        self.sequence = 0
        self.hash = GENESIS

    def event(self, type_: str = "parcel.loaded", subject: str = "parcel/P1", **data: Any) -> bytes:
        self.sequence += 1
        event = {
            "specversion": "1.0",
            "id": event_id(f"{self.sequence} {type_} {subject}"),
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
    ledger.add(arrived(writer.event() for _ in range(20)))
    report = ledger.report()
    assert (report["events_received"], report["last_sequence"]) == (20, 20)
    assert (report["gaps"], report["duplicates_removed"], report["chain_intact"]) == (0, 0, True)


def test_the_same_event_again_is_counted_and_kept_once(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(3)]
    ledger.add(arrived(events))
    ledger.add(arrived([events[1], events[1], events[2]]))
    report = ledger.report()
    assert (report["events_received"], report["duplicates_removed"]) == (3, 3)
    assert report["chain_intact"]


def test_the_order_of_arrival_does_not_matter(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(50)]
    for event in reversed(events):
        ledger.add(arrived([event]))
    report = ledger.report()
    assert (report["gaps"], report["chain_intact"]) == (0, True)


def test_a_missing_event_is_a_gap_and_is_named(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(10)]
    ledger.add(arrived(events[:3] + events[5:]))
    report = ledger.report()
    assert report["gaps"] == 1
    assert report["missing"] == [[UNIT, 4, 5]]
    assert ledger.account(UNIT).through == 3


def test_events_missing_at_the_beginning_are_a_gap_too(ledger: Ledger, writer: Writer) -> None:
    ledger.add(arrived([writer.event() for _ in range(5)][2:]))
    assert ledger.report()["missing"] == [[UNIT, 1, 2]]


def test_a_consumer_that_came_later_may_say_where_it_begins(tmp_path: Path, writer: Writer) -> None:
    late = Ledger(tmp_path / "late.sqlite", from_sequence=3)
    late.add(arrived([writer.event() for _ in range(5)][2:]))
    report = late.report()
    late.close()
    assert (report["gaps"], report["chain_intact"]) == (0, True)


def test_an_altered_event_breaks_the_chain(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(4)]
    events[2] = events[2].replace(b'"P1"', b'"P2"').replace(b"parcel/P1", b"parcel/P9")
    ledger.add(arrived(events))
    report = ledger.report()
    assert not report["chain_intact"]
    assert "event 3" in report["breaks"][0]


def test_an_event_that_does_not_match_its_hash_is_still_owed_and_makes_way_for_the_one_that_does(
    ledger: Ledger, writer: Writer
) -> None:
    events = [writer.event() for _ in range(4)]
    ledger.add(arrived([*events[:2], events[2].replace(b'"boot"', b'"BOOT"'), events[3]]))
    assert ledger.account(UNIT).through == 2, "nobody may free the third: what came is not it"
    assert ledger.report()["missing"] == [[UNIT, 3, 3]]
    ledger.add(arrived([events[2]]))
    assert ledger.account(UNIT).through == 4
    assert not ledger.account(UNIT).breaks


def test_an_altered_event_at_the_end_is_owed_as_well(ledger: Ledger, writer: Writer) -> None:
    events = [writer.event() for _ in range(2)]
    ledger.add(arrived([events[0], events[1].replace(b'"boot"', b'"BOOT"')]))
    assert ledger.account(UNIT).missing == [(2, 2)]


def test_an_event_that_does_not_continue_the_one_before_breaks_the_chain(ledger: Ledger, writer: Writer) -> None:
    first = writer.event()
    writer.hash = "f" * 64
    ledger.add(arrived([first, writer.event()]))
    report = ledger.report()
    assert not report["chain_intact"]
    assert "event 2 does not continue event 1" in report["breaks"][0]


def test_two_events_with_one_sequence_number_break_the_chain(ledger: Ledger, writer: Writer) -> None:
    first = writer.event()
    writer.sequence, writer.hash = 0, GENESIS
    ledger.add(arrived([first, writer.event(subject="parcel/OTHER")]))
    report = ledger.report()
    assert not report["chain_intact"]
    assert "two events have the sequence 1" in report["breaks"][0]


def test_the_same_id_with_other_bytes_is_no_plain_duplicate(ledger: Ledger, writer: Writer) -> None:
    event = writer.event()
    ledger.add(arrived([event, event.replace(b'"boot"', b'"BOOT"')]))
    assert not ledger.report()["chain_intact"]


def test_a_recovery_declares_its_gap(ledger: Ledger, writer: Writer) -> None:
    ledger.add(arrived(writer.event() for _ in range(5)))
    last, last_hash = writer.sequence, writer.hash
    writer.sequence = 1000
    declared = {"last_sequence": last, "last_hash": last_hash, "next_sequence": 1001, "lost": {"events": []}}
    ledger.add(arrived([writer.event("unit.journal_recovered", "unit", **declared), writer.event()]))
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
    ledger.add(arrived([*events, recovered]))
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
    ledger.add(arrived([*events[:2], *events[6:], recovered]))
    assert ledger.report()["missing"] == [[UNIT, 3, 3], [UNIT, 6, 6]]


def test_a_recovery_that_continues_another_event_breaks_the_chain(ledger: Ledger, writer: Writer) -> None:
    ledger.add(arrived(writer.event() for _ in range(5)))
    writer.sequence, writer.hash = 1000, "e" * 64
    declared = {"last_sequence": 5, "last_hash": "e" * 64, "next_sequence": 1001}
    ledger.add(arrived([writer.event("unit.journal_recovered", "unit", **declared)]))
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
    ledger.add(arrived(writer.event(type_, subject) for subject, types in told.items() for type_ in types))
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
    ledger.add(arrived([writer.event(figure=1e16)]))
    report = ledger.report()
    assert (report["events_received"], report["unreadable"], report["chain_intact"]) == (1, 0, True)


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"null", b'{"id": 1}', b"\xff" * 100, b"[" * 10_000])
def test_what_is_no_event_is_counted_and_changes_nothing(ledger: Ledger, writer: Writer, payload: bytes) -> None:
    ledger.add(arrived([writer.event(), payload]))
    report = ledger.report()
    assert (report["events_received"], report["unreadable"], report["chain_intact"]) == (1, 1, True)


def test_a_batch_that_fails_leaves_nothing_behind(ledger: Ledger, writer: Writer) -> None:
    def broken() -> Iterator[bytes]:
        yield writer.event()
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError):
        ledger.add(arrived(broken()))
    assert ledger.report()["events_received"] == 0


def test_the_ids_of_one_unit_take_nothing_from_another(ledger: Ledger, writer: Writer) -> None:
    event = writer.event()
    squatted = event.replace(b"/fleet/u1", b"/fleet/u2")
    ledger.add(arrived([squatted], "kerbside/fleet/u2/events/parcel/loaded"))
    ledger.add(arrived([event]))
    report = ledger.report()
    assert (report["events_received"], report["duplicates_removed"]) == (2, 0)
    assert ledger.account(UNIT).through == 1


def test_of_what_cannot_be_read_the_newest_is_kept_aside_and_all_is_counted(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add(arrived(b"%d no event" % n for n in range(2 * MAX_KEPT_ASIDE)))
    report = ledger.report()
    assert report["unreadable"] == 2 * MAX_KEPT_ASIDE
    assert report["kept_aside"][0]["topic"] == f"kerbside{UNIT}/events/parcel/loaded"
    assert "expected JSON" in report["kept_aside"][0]["reason"]
    database = sqlite3.connect(tmp_path / "events.sqlite")
    kept = [excerpt for (excerpt,) in database.execute("SELECT excerpt FROM kept_aside ORDER BY number")]
    database.close()
    assert kept == [b"%d no event" % n for n in range(MAX_KEPT_ASIDE, 2 * MAX_KEPT_ASIDE)]


RECOVERY = {"last_sequence": 1, "last_hash": "a" * 64, "next_sequence": 3, "lost": {"events": []}}


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"last_sequence": None},
        {"last_sequence": 10**15},
        {"last_sequence": 1e300},
        {"last_sequence": True},
        {"last_hash": ["a"]},
        {"next_sequence": "3"},
        {"lost": [[1, 2]]},
        {"lost": {"events": {"1": 2}}},
        {"lost": {"events": [[1], [2, 3, 4]]}},
        {"lost": {"events": [["1", "2"], None]}},
        {"lost": {"events": [[5, 1], [-1, 3]]}},
        {"lost": {"events": [[1, 1e16]]}},
    ],
)
def test_whatever_a_recovery_declares_the_account_goes_on(
    ledger: Ledger, writer: Writer, declared: dict[str, Any]
) -> None:
    first = writer.event()
    writer.sequence = 2
    ledger.add(arrived([first, writer.event("unit.journal_recovered", "unit", **{**RECOVERY, **declared})]))
    assert ledger.report()["events_received"] == 2
    assert ledger.account(UNIT).through >= 1


def test_a_unit_that_declares_thousands_of_gaps_leaves_those_that_it_does_not_declare(
    ledger: Ledger, writer: Writer
) -> None:
    gaps = [[number, number] for number in range(2, 20_000, 2)]
    declared = {"last_sequence": 20_000, "last_hash": "a" * 64, "next_sequence": 30_001, "lost": {"events": gaps}}
    writer.sequence = 30_000
    recovered = writer.event("unit.journal_recovered", "unit", **declared)
    ledger.add(arrived([recovered]))
    missing = ledger.account(UNIT).missing
    assert missing[:2] == [(1, 1), (3, 3)]
    assert missing[-1] == (19_999, 20_000)
    assert len(missing) == 10_000


# --- what an earlier version has kept ---------------------------------------------------------------------------

EARLIER = """
CREATE TABLE events (
    id TEXT PRIMARY KEY, unit TEXT NOT NULL, lane TEXT NOT NULL, sequence INTEGER NOT NULL, type TEXT NOT NULL,
    previous TEXT, hash TEXT, sound INTEGER NOT NULL, payload BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX by_sequence ON events (unit, lane, sequence);
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counts VALUES ('unreadable', 7);
"""


@pytest.mark.parametrize(
    ("unit", "sequence", "type_", "payload"),
    [
        ("/fleet/+", 1, "parcel.loaded", b"{}"),
        ("/fleet/#", 1, "parcel.loaded", b"{}"),
        ("/fleet/u1/inbox", 1, "parcel.loaded", b"{}"),
        ("", 1, "parcel.loaded", b"{}"),
        (UNIT, 10**18, "parcel.loaded", b"{}"),
        (UNIT, 2, "parcel.loaded", b'{"data": {}}'),
        (UNIT, 2, "parcel.manifested", b'{"subject": "parcel/P1", "data": [1]}'),
        (UNIT, 2, "parcel.manifested", b'{"subject": "parcel/P1", "data": {"state": ["x"]}}'),
        (UNIT, 2, "parcel.loaded", b'{"n": NaN}'),
        (UNIT, 2, "parcel.loaded", b"[" * 100_000),
        (UNIT, 2, "parcel.loaded", b"\xff\xfe"),
        (UNIT, 2, "unit.journal_recovered", b'{"data": {"last_sequence": 1e300, "last_hash": 1, "next_sequence": 2}}'),
        (UNIT, 2, "unit.journal_recovered", b"[]"),
    ],
)
def test_a_row_that_an_earlier_version_should_not_have_kept_stops_nothing(
    tmp_path: Path, writer: Writer, unit: str, sequence: int, type_: str, payload: bytes
) -> None:
    path = tmp_path / "earlier.sqlite"
    event = writer.event()
    database = sqlite3.connect(path)
    database.executescript(EARLIER)
    rows = [
        ("first", UNIT, "events", 1, "parcel.loaded", GENESIS, writer.hash, 1, event),
        ("bad", unit, "events", sequence, type_, None, None, 1, payload),
    ]
    database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    database.commit()
    database.close()
    for _ in range(2):
        ledger = Ledger(path)
        assert ledger.units() == [UNIT]
        assert ledger.account(UNIT).through >= 1
        assert ledger.report()["unreadable"] == 7
        ledger.close()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_a_file_that_is_no_store_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.sqlite"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"other\.sqlite: expected the store of a consumer"):
        Ledger(path)
