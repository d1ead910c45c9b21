"""A scan of what no manifest knows: another code of the label, an unknown form, a number that cannot be right."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.model.decision import Decision, Event
from agent.delivery.model.inputs import NOT_PARCELS, Acted, Facts
from agent.labels.identity import to_input
from agent.words import LANGUAGES, feedback
from drivers.readings import Scan
from tests.delivery.support import CoreUnit, assigned, block_data, loading, on_route


def read(unit: CoreUnit, text: str, identifier: str | None = None, symbology: str | None = None) -> Decision:
    """A scanner reads a label."""
    return unit.give(to_input(Scan("dock", text, 1, identifier, symbology)))


def typed(unit: CoreUnit, text: str) -> str:
    """The driver types a number in; what the answer is."""
    decision = unit.give(Acted("scan", {"code": text}, Facts(to_input(Scan("console", text, 1), "manual"))))
    return decision.refusal.reason if decision.refusal is not None else "OK"


def told(unit: CoreUnit) -> str:
    """All that the events hold."""
    return json.dumps([entry.data for entry in unit.log if isinstance(entry, Event)])


OTHER_CODES = [
    ("4006381333931", "]E0", None),
    ("4006381333931", None, None),
    ("036000291452", None, "UPC-A"),
    ("(01)09506000134352", None, None),
    ("010950600013435217261231", "]C1", None),
    ("0109506000134352", None, None),
    ("010950600013435221A1B2C3", "]Q3", "QR Code"),
    ("https://id.gs1.org/01/09506000134352", "]Q1", "QR Code"),
    ("HTTPS://SHOP.EXAMPLE/01/09506000134352/21/A1B2?x=1", "]Q1", "QR Code"),
    ("15012345678907", "]I1", "ITF"),
    ("X001A2B3C4", "]C0", None),
    ("B07XJ8C8F5", "]C0", None),
    ("LPNRR123456789", "]C0", None),
    ("42010115", "]C1", "Code 128"),
    ("42010115", None, None),
    ("421826SW1A1AA", "]C1", None),
    ("421826SW1A1AA", None, None),
    ("10115123045019", "]I0", "ITF"),
    ("2LDE10115+48000001", "]C0", None),
    ("JGB 011100000010000000001SW1A1AA1A0SN35SL ", "]d1", "Data Matrix"),
    ("JGB S111ABCDEFGHIJKLMNOPQRSTUV 10115", "]d1", None),
    ("DEA\x12\x01\x02 10115", "]d1", None),
    ("https://example.org/returns?postcode=10115", "]Q1", None),
    ("WWW.EXAMPLE.ORG/10115", None, None),
    ("WIFI:T:WPA;S:depot-10115;P:secret123;;", "]Q1", None),
    ("BEGIN:VCARD\r\nVERSION:3.0\r\nN:Musterfrau;10115\r\nEND:VCARD", "]Q1", None),
    ("MECARD:N:Musterfrau;TEL:0301011500;;", None, None),
    ("tel:+493010115", None, None),
    ("BCD\n002\n1\nSCT\nGENODEM1GLS\nMusterfrau\nDE10115", "]Q1", None),
    ("upi://pay?pa=10115@bank", None, None),
    ("LPA:1$rsp.example$10115", None, None),
    ("@SETUPE1", "]C0", None),
    ("%%SpecCode10115", None, None),
    ("$P,HA35,P", None, None),
    ("TERMID130.", "]C0", None),
    ("@\n\x1e\rANSI 636014040002DL00410278DAQ10115", "]L0", "PDF417"),
    ("[)>\x1e06\x1dPART10115\x1d4LDE\x1e\x04", None, None),
    ("Erika Musterfrau, Chausseestr. 1, 10115 Berlin", "]L0", None),
]


@pytest.mark.parametrize(("text", "identifier", "symbology"), OTHER_CODES)
def test_another_code_of_the_label_is_told_so_and_leaves_no_parcel(
    text: str, identifier: str | None, symbology: str | None
) -> None:
    unit = loading(1)
    unit.scan_parcel(1)
    before = unit.block
    decision = read(unit, text, identifier, symbology)
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.tone) == ("OTHER_CODE", "attention")
    assert [event.type for event in decision.events] == ["scan.rejected"], "every rejected scan is an event"
    assert unit.block.parcels == before.parcels
    assert (unit.block.rejected_scans, unit.block.unexpected) == (0, 0), "load accuracy is what it was"
    assert not any(part in told(unit) for part in ("10115", "SW1A1AA", "Musterfrau", "secret", "2LDE"))


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_another_code_of_the_label_is_told_in_words(language: str) -> None:
    unit = loading(1)
    told = read(unit, "4006381333931", "]E0").feedback
    assert told is not None
    said = feedback(told, language)
    assert said["text"]
    assert said["speech"]


@pytest.mark.parametrize(
    ("text", "identifier", "number"),
    [
        ("4006381333931", "]E0", "4006381333931"),
        ("https://track.example/parcel?id=TBA000000000001", "]Q1", "TBA000000000001"),
        ("TRACKING:TBA000000000001", None, "TBA000000000001"),
        ("10115123045019", "]I0", "10115123045019"),
        ("[)>\x1e06\x1dTBA000000000001\x1d\x1e\x04", None, "TBA000000000001"),
    ],
)
def test_whatever_the_manifest_knows_is_a_parcel(text: str, identifier: str | None, number: str) -> None:
    data = block_data(1)
    data["parcels"][0]["tracking_number"] = number
    unit = CoreUnit()
    unit.receive("block.assigned", data)
    unit.must("check_in", reason="other")
    unit.must("start_loading")
    read(unit, text, identifier)
    assert unit.code() == "OK"


@pytest.mark.parametrize(
    ("text", "identifier"),
    [("PACKET000123", None), ("GD123456785WW", "]C0"), ("1021072911172405310100693570007182", "]C1")],
)
def test_a_text_of_an_unknown_form_is_put_aside_and_is_a_parcel_once_the_driver_says_so(
    text: str, identifier: str | None
) -> None:
    unit = loading(1)
    decision = read(unit, text, identifier)
    assert decision.feedback is not None
    assert (decision.feedback.code, decision.feedback.params["code"]) == ("NOT_ON_MANIFEST", text)
    assert [event.type for event in decision.events] == ["scan.rejected"]
    assert decision.events[0].data["scanned"] == text
    assert unit.block.rejected_scans == 0
    assert typed(unit, text) == "NOT_ON_MANIFEST"
    assert [event.type for event in unit.last.events] == ["parcel.unexpected"]
    assert unit.parcel("B1-x1").tracking_number == text


def test_a_text_of_an_unknown_form_is_asked_about_and_one_press_says_that_it_is_a_parcel() -> None:
    from agent.delivery.screen.prompt import prompt

    unit = loading(1)
    read(unit, "PACKET-000123")
    asked = prompt(unit.state, unit.moment)
    assert (asked["code"], asked["params"]["code"], asked["action"]) == ("CONFIRM_NUMBER", "PACKET-000123", "choose")
    assert unit.refused("choose", code="PACKET-000124") == "NO_CHOICE"
    assert unit.refused("choose", code=asked["params"]["choices"][0]["parcel_id"]) == "NOT_ON_MANIFEST"
    assert unit.parcel("B1-x1").tracking_number == "PACKET-000123"


def test_the_question_about_a_text_ends_with_the_next_scan_or_action() -> None:
    for go_on in (lambda u: u.scan_parcel(1), lambda u: u.must("undo"), lambda u: read(u, "PACKET000999")):
        unit = loading(2)
        unit.scan_parcel(2)
        read(unit, "PACKET000123")
        go_on(unit)
        assert typed(unit, "PACKET000123") == "NOT_ON_MANIFEST"
        assert unit.last.events[0].type == "scan.rejected", "typed once: asked"


def test_a_scanner_that_repeats_itself_does_not_answer_the_question() -> None:
    unit = loading(1)
    for _ in range(3):
        read(unit, "PACKET000123")
    assert not unit.events("parcel.unexpected")


@pytest.mark.parametrize("text", ["1Z999AA10123456785", "00340434161094042558", "RB123456786US"])
def test_a_number_that_cannot_be_right_is_taken_as_what_it_is_once_the_driver_confirms_it(text: str) -> None:
    unit = loading(1)
    read(unit, text)
    assert unit.code() == "BAD_LABEL"
    assert typed(unit, text) == "BAD_LABEL"
    assert unit.last.feedback is not None
    assert "once more" in feedback(unit.last.feedback)["text"], "the advice leads on"
    assert typed(unit, text) == "NOT_ON_MANIFEST"
    assert [event.type for event in unit.last.events] == ["parcel.unexpected"]
    assert unit.parcel("B1-x1").tracking_number == text


@pytest.mark.parametrize("text", ["993413796700168517", "1234567890123456", "10115123045019"])
def test_a_number_of_a_form_that_others_use_too_can_be_typed_in(text: str) -> None:
    unit = loading(1)
    read(unit, text)
    assert unit.code() == "NOT_ON_MANIFEST"
    typed(unit, text)
    typed(unit, text)
    assert unit.parcel("B1-x1").tracking_number == text


def test_an_article_code_that_the_driver_insists_on_is_taken() -> None:
    unit = loading(1)
    assert [typed(unit, "4006381333931") for _ in range(2)] == ["OTHER_CODE", "NOT_ON_MANIFEST"]
    assert unit.parcel("B1-x1").tracking_number == "4006381333931"


def test_on_the_road_a_confirmed_number_is_not_on_the_list_and_nothing_else() -> None:
    unit = on_route(1)
    assert [typed(unit, "1Z999AA10123456785") for _ in range(2)] == ["BAD_LABEL", "NOT_ON_MANIFEST"]
    assert not unit.events("parcel.unexpected")


@pytest.mark.parametrize("words", ["Erika Musterfrau 0151 23456789", "01512345678", "Musterfrau 0151"])
def test_what_is_typed_once_stands_in_no_event(words: str) -> None:
    for unit in (loading(1), on_route(1), assigned(1)):
        typed(unit, words)
        assert not any(part in told(unit).upper() for part in ("MUSTERFRAU", "0151"))


@given(st.text(max_size=60), st.booleans())
def test_no_text_of_an_unknown_form_becomes_a_parcel_by_a_scan_alone(text: str, twice: bool) -> None:
    unit = loading(1)
    scanned = to_input(Scan("dock", text, 1))
    for _ in range(1 + twice):
        unit.give(scanned)
    if scanned.kind is None or scanned.kind in NOT_PARCELS or scanned.fault is not None:
        assert not unit.events("parcel.unexpected")
