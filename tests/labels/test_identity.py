"""A scanned text becomes a parcel identity."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.delivery.model.numbers import normal
from agent.labels.identity import MAX_CHARACTERS, identify, to_input
from drivers.readings import Scan

SSCC = "00340434161094042557"


def test_the_symbology_identifier_is_taken_off_and_kept() -> None:
    found = identify("]C0TBA123456789012")
    assert (found.text, found.identifier) == ("TBA123456789012", "]C0")
    assert identify("TBA123456789012", "]C0") == found


def test_an_identifier_that_the_driver_has_split_off_already_is_not_missed_in_the_text() -> None:
    assert identify("]C0TBA123456789012", "]C0").text == "TBA123456789012"
    assert identify("]Z marks the spot").text == "]Z marks the spot"


def test_spaces_hyphens_and_small_letters_make_no_difference_to_the_code() -> None:
    assert identify("tba 1234-5678-9012").codes[0] == "TBA123456789012"
    assert normal("tba 1234-5678-9012\r\n") == "TBA123456789012"


def test_the_raw_text_stays_among_the_codes_for_a_manifest_that_was_written_with_it() -> None:
    assert "Locker 7/b" in identify("Locker 7/b").codes


@pytest.mark.parametrize(
    ("text", "carrier", "kind"),
    [
        ("TBA123456789012", "amazon", "amazon_tba"),
        ("TBC123456789012", "amazon", "amazon_tbc"),
        ("TBM123456789012", "amazon", "amazon_tbm"),
        ("C1004444443", "amazon", "amazon_international"),
        ("1Z5R89390357567127", "ups", "ups_1z"),
        ("1ZXX3150YW44070023", "ups", "ups_1z"),
        ("9400111206206406260787", "usps", "usps_impb"),
        ("92748931507708513018050063", "usps", "usps_impb"),
        ("0307 1790 0005 2348 3741", "usps", "usps_20"),
        ("61299998820821171811", "fedex", "fedex_20"),
        ("9611020987654312345672", "fedex", "fedex_22"),
        ("1001921334250001000300779017972697", "fedex", "fedex_34"),
        ("9622001900000000000000776632517510", "fedex", "fedex_34"),
        ("JJD0099999999", "dhl", "dhl_licence_plate"),
        ("JVGL0999999990", "dhl", "dhl_licence_plate"),
        ("JD014600001234567890", "dhl", "dhl_licence_plate"),
        ("JJD014600001234567890", "dhl", "dhl_licence_plate"),
        (SSCC, "dhl", "sscc"),
        ("RB123456785GB", "royal_mail", "s10"),
        ("RB123456785CV", None, "s10"),
        ("3SDEVC123456789", "postnl", "postnl_3s"),
        ("09980000020034D", "dpd", "dpd_15"),
        ("%008182709980000020033350276", "dpd", "dpd_27"),
        ("983456789012345678", "swiss_post", "swiss_post_18"),
        ("323212345678901234", "bpost", "bpost_18"),
        ("323212345678901234567890", "bpost", "bpost_24"),
        ("329912345678901234567890", "bpost", "bpost_24"),
        ("JJBEA1234567890123456789012", "bpost", "bpost_jj"),
        ("01993126509999989133ABC1234567", "australia_post", "australia_post"),
    ],
)
def test_a_carrier_is_known_by_the_form_of_its_number(text: str, carrier: str | None, kind: str) -> None:
    found = identify(text)
    assert (found.carrier, found.kind, found.fault) == (carrier, kind, None)
    assert found.is_parcel


@pytest.mark.parametrize(
    ("text", "identifier", "carrier", "kind"),
    [
        ("986578788855", "]C0", "fedex", "fedex_12"),
        ("041441760228964", "]C0", "fedex", "fedex_15"),
        ("3318810025", "]A0", "dhl", "dhl_express"),
        ("7035114477138472", "]C0", "canada_post", "canada_post"),
        ("106141412345678908", "]C0", None, "sscc"),
        ("123456789013", "]F0", None, "japan_12"),
    ],
)
def test_digits_that_only_one_check_digit_speaks_for_name_a_carrier_only_in_its_symbology(
    text: str, identifier: str, carrier: str | None, kind: str
) -> None:
    found = identify(text, identifier)
    assert (found.carrier, found.kind) == (carrier, kind)
    typed = identify(text)
    assert (typed.carrier, typed.kind, typed.fault, typed.codes[0]) == (None, None, None, typed.codes[0])
    assert set(found.codes) == set(typed.codes), "a manifest still knows it under each of its names"
    other = identify(text, "]Q1")
    assert (other.carrier, other.kind, other.fault) == (None, None, None)


@given(st.sampled_from([10, 12, 14, 16]), st.data())
def test_typed_digits_of_a_length_that_many_carriers_use_are_taken_for_nobody_s(
    length: int, data: st.DataObject
) -> None:
    text = data.draw(st.text("0123456789", min_size=length, max_size=length))
    assert identify(text).carrier is None


@pytest.mark.parametrize(
    "text",
    [
        "1Z5R89390357567128",
        "9400111206206406260788",
        "]C19400111206206406260788",
        "9200000000000000000000",
        "9611020987654312345673",
        "RB123456786US",
        "00340434161094042558",
        "]C100340434161094042558",
        "(00)340434161094042558",
        "(01)09506000134353(21)A1",
        "TBA12345678901",
        "TBA12345678901A",
        "1Z5R8939035756712",
    ],
)
def test_a_wrong_check_digit_or_length_is_a_fault(text: str) -> None:
    found = identify(text)
    assert found.fault
    assert not found.is_parcel
    assert normal(found.text) in found.codes, "the manifest may still know the very text"


def test_a_fault_says_what_was_found_and_what_was_expected() -> None:
    assert identify("1Z5R89390357567128").fault == "UPS 1Z: check digit 8, expected 7"
    assert identify("RB123456786US").fault == "UPU S10: check digit 6, expected 5"


@pytest.mark.parametrize(
    "text",
    [
        "287809468875",  # neither FedEx nor Purolator
        "996578788859",
        "041441760228965",
        "3318810026",
        "420787459400111206206406260788",
        "1001921334250001000300779017972698",
        "RB123456785XX",  # the shape of UPU S10, of no country
        "UG123456785YP",
        "XY123456789FR",  # no letter of a service of UPU S10
        "C12345678901234",
        "TH0123456789012",
        "BC1234567890",
        "ABCD123456789",
        "10115123045019",  # 14 digits: three carriers have them, without a check digit
    ],
)
def test_a_shape_that_others_share_accuses_no_label(text: str) -> None:
    found = identify(text)
    assert (found.kind, found.carrier, found.fault) == (None, None, None)
    assert found.codes[0] == text


def test_a_swiss_parcel_is_no_logistic_unit_with_a_wrong_check_digit() -> None:
    found = identify("993413796700168517")
    assert (found.kind, found.carrier, found.fault) == ("swiss_post_18", "swiss_post", None)


@pytest.mark.parametrize("form", ["digits", "lettered"])
@given(st.data())
def test_a_number_of_a_form_that_we_do_not_know_is_never_told_as_a_wrong_label(form: str, data: st.DataObject) -> None:
    lengths = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 23, 24]
    length = data.draw(st.sampled_from(lengths))
    digits = data.draw(st.text("0123456789", min_size=length, max_size=length))
    text = digits if form == "digits" else data.draw(st.sampled_from(["GD", "XY", "UG"])) + digits[:9] + "WW"
    assert identify(text).fault is None


def test_a_rejected_guess_does_not_rewrite_what_was_scanned() -> None:
    text = "1021072911172405310100693570007182"
    assert identify(f"]C1{text}").codes[0] == text
    assert identify("9611020987654312345673").codes[0] == "9611020987654312345673"


def test_an_unknown_form_has_no_kind_and_no_fault() -> None:
    found = identify("PICK-LIST/17")
    assert (found.kind, found.carrier, found.fault) == (None, None, None)
    assert found.codes == ("PICKLIST/17", "PICK-LIST/17")


@pytest.mark.parametrize("text", ["420787459400111206206406260787", "420787451234" + "9400111206206406260787"])
def test_the_zip_code_in_front_of_a_usps_number_is_not_part_of_it(text: str) -> None:
    found = identify(text)
    assert found.tracking_number == "9400111206206406260787"
    assert text in found.codes


def test_a_group_separator_behind_the_zip_code_does_not_hide_the_usps_number() -> None:
    found = identify("]C142078745\x1d9400111206206406260787")
    assert (found.tracking_number, found.carrier) == ("9400111206206406260787", "usps")


def test_a_fedex_barcode_of_34_digits_gives_the_number_that_people_use_first() -> None:
    found = identify("1001921334250001000300779017972697")
    assert found.codes == ("779017972697", "00779017972697", "1001921334250001000300779017972697")


@pytest.mark.parametrize(
    "text",
    [
        SSCC,
        f"]C1{SSCC}",
        f"]C1\x1d{SSCC}",
        "(00)340434161094042557",
        "(00) 3 4043416 109404255 7",
        f"]C1{SSCC}\x1d42012345",
        "https://id.gs1.org/00/340434161094042557",
        "https://id.gs1.org/00/340434161094042557/",
        "HTTPS://ID.GS1.ORG/00/340434161094042557",
        f"]C1{SSCC}400PO1\x1d42012345",
        *(f"]C1{SSCC}400PO1{separator}42012345" for separator in ("~", "|", "^", "#", "␝", "[GS]", " ")),
        f"]C1{SSCC}999",
        f"]C142012345\x1d{SSCC}999",
        f"]C1400PO1\x1d0209506000134352{SSCC}8888x",
        *(f"]C1{SSCC}400PO1{separator}42012345" for separator in ("{GS}", "<FNC1>", "(GS)", "^]")),
        "https://example.org/track/00/340434161094042557?99=%zz",
        "https://example.org/00/340434161094042557/9999/what",
        "(00)340434161094042557(9999)what",
        f"\ufeff \x06]C1{SSCC}\x04\u00a0",
        f"]C1]C1{SSCC}",
        f"\x02]C1{SSCC}\r\n",
        "\u00a000 3404\u20073416\u200b1094042557",
        "340434161094042557",
    ],
)
def test_an_sscc_is_the_same_parcel_however_it_is_written(text: str) -> None:
    found = identify(text)
    assert found.sscc == "340434161094042557"
    assert set(found.codes) >= {SSCC, "340434161094042557"}
    assert (found.kind, found.fault) == ("sscc", None)


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("010950600013435221AB12", "]C1"),
        ("010950600013435221AB12\x1d10L7", "]d2"),
        ("010950600013435221AB12", None),
        ("(01)09506000134352(21)AB12", None),
        ("[01]09506000134352[21]AB12", None),
        ("https://shop.example/01/09506000134352/21/AB12", None),
    ],
)
def test_an_item_number_with_its_serial_number_names_one_piece(text: str, identifier: str | None) -> None:
    found = identify(text, identifier)
    assert (found.kind, found.gtin, found.serial) == ("sgtin", "09506000134352", "AB12")
    assert found.codes[0] == "010950600013435221AB12"


@pytest.mark.parametrize("text", ["]C101095060001343528888x", "https://example.org/01/09506000134352/9999/what"])
def test_a_product_s_number_beside_an_element_that_cannot_be_read_is_still_a_product_s(text: str) -> None:
    found = identify(text)
    assert (found.kind, found.gtin, found.fault) == ("gtin", "09506000134352", None)


def test_an_item_with_a_serial_number_is_an_article_and_no_parcel() -> None:
    assert not identify("https://id.gs1.org/01/09506000134352/21/A1").is_parcel


def test_elements_that_a_company_writes_for_itself_are_of_an_unknown_form_and_looked_up() -> None:
    found = identify("]C199PARCEL00017")
    assert (found.kind, found.fault) == (None, None)
    assert "PARCEL00017" in found.codes


def test_a_product_code_is_not_a_parcel() -> None:
    for found in (
        identify("9506000134352", "]E0"),
        identify("9506000134352", None, "EAN-13"),
        identify("]E09506000134352"),
    ):
        assert (found.kind, found.gtin, found.fault) == ("gtin", "09506000134352", None)
        assert not found.is_parcel


def test_a_twelve_digit_product_code_is_not_taken_for_a_tracking_number() -> None:
    assert identify("036000291452", "]E0").kind == "gtin"
    assert identify("036000291452", None, "UPC-A").kind == "gtin"


def test_an_identcode_is_believed_where_the_symbology_is_interleaved() -> None:
    found = identify("201298452277", "]I0")
    assert (found.carrier, found.kind) == ("dhl", "dhl_identcode")


def test_the_number_in_a_shipping_label_s_two_dimensional_code_is_found() -> None:
    ups = "[)>\x1e01\x1d96841706672\x1d840\x1d001\x1d1Z5R89390357567127\x1dUPSN\x1d\x1e\x04"
    fedex = "[)>\x1e01\x1d0284124\x1d840\x1d019\x1d9865787888550201\x1dFDE\x1d5073901\x1e\x04"
    assert identify(ups).tracking_number == "1Z5R89390357567127"
    assert identify(fedex).tracking_number == "986578788855"
    assert not identify("[)>\x1e06\x1dPABC\x1d\x1e\x04").is_parcel


def test_an_empty_code_and_an_endless_one_are_faults_with_a_reason() -> None:
    for empty in ("", "---", "]C1", "\x1d", " \r\n"):
        found = identify(empty)
        assert found.fault == "the code is empty"
        assert found.codes
    endless = identify("9" * 1_000_000)
    assert endless.fault is not None
    assert "1000000 characters" in endless.fault
    assert len(endless.text) == MAX_CHARACTERS


ALPHABET = "0123456789ABCDJTUVZ19 -()[]%]C1/:.\x00\x1d\x1e\x04\r\né٣²\ud800"


@given(
    st.one_of(
        st.text(max_size=80), st.text(ALPHABET, max_size=60), st.binary(max_size=80).map(lambda b: b.decode("latin-1"))
    )
)
@example("]C1010950600013435217999999")
@example("(3920)")
@example("]C13929٣")
@example("[)>\x1e")
@example("https://x/01/1")
def test_whatever_is_scanned_there_is_an_identity_that_can_become_an_event(text: str) -> None:
    for found in (identify(text), identify(text, "]C1"), identify(text, None, "EAN-13")):
        assert found.codes
        assert len(set(found.codes)) == len(found.codes)
        json.dumps([found.text, *found.codes, found.fault], ensure_ascii=False).encode("utf-8")


@given(st.from_regex(r"[0-9]{8,45}", fullmatch=True), st.sampled_from([None, "]C1", "]I0", "]E0"]))
def test_every_number_of_digits_has_itself_among_its_codes(text: str, identifier: str | None) -> None:
    assert text in identify(text, identifier).codes


@given(st.from_regex(r"[0-9]{17}", fullmatch=True))
def test_of_ten_check_digits_of_an_sscc_exactly_one_is_right(body: str) -> None:
    sound = [digit for digit in "0123456789" if identify(f"]C100{body}{digit}").fault is None]
    assert len(sound) == 1


def test_a_scan_becomes_an_input_of_the_core_with_its_identity() -> None:
    scan = Scan("dock", "tba123456789012", time.monotonic_ns(), "]C0", "Code 128", repeat=True)
    found = to_input(scan, "manual")
    assert (found.text, found.codes[0]) == ("tba123456789012", "TBA123456789012")
    assert (found.device, found.entry, found.repeat) == ("dock", "manual", True)
    assert (found.carrier, found.kind, found.fault) == ("amazon", "amazon_tba", None)
    assert (found.identifier, found.symbology) == ("]C0", "Code 128")


def test_codes_that_may_be_meant_as_well_go_with_the_scan_in_all_their_forms() -> None:
    other = Scan("camera", "00340434161094042557", 1, "]C1")
    found = to_input(Scan("camera", "TBA123456789012", 1, others=(other,)), "camera")
    assert found.others == (to_input(other, "camera"),)
    assert found.others[0].codes == ("00340434161094042557", "340434161094042557")
    assert found.others[0].entry == "camera"


def test_a_routing_code_of_dhl_is_no_parcel_of_dpd() -> None:
    found = identify("10115123045019", "]I0", "ITF")
    assert (found.carrier, found.kind, found.is_parcel) == ("dhl", "dhl_routing", False)


@pytest.mark.parametrize("separator", ["<GS>", "{GS}", "^", "|"])
def test_a_shipping_message_is_read_with_printed_separators_too(separator: str) -> None:
    fields = ("[)>", "01", "96841706672", "840", "068", "1Z95456724", "UPSN", "0A4190", "010")
    assert identify(separator.join(fields)).codes[0] == "1Z0A41906895456724"
    assert "UN043325711MH8031" in identify("[)>\x1e06\x1d1JUN043325711MH8031\x1e\x04").codes


def test_a_number_of_ups_that_is_spread_over_the_fields_of_a_maxicode_is_put_together() -> None:
    fields = ("01", "96841706672", "840", "068", "1Z95456724", "UPSN", "0A4190", "010", "", "1/1", "1", "Y")
    found = identify("[)>\x1e" + "\x1d".join(fields) + "\x1e\x04", None, "MaxiCode")
    assert found.codes[0] == "1Z0A41906895456724"
    assert (found.carrier, found.fault) == ("ups", None)


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ("A400012345674A", "400012345674"),
        ("*1Z999AA10123456784*", "1Z999AA10123456784"),
        ("j1Z999AA10123456784", "1Z999AA10123456784"),
        ("*PK-10023*", "PK10023"),
        ("D998877665544", "998877665544"),
        ("C9988776655", "9988776655"),
        ("D99887766554433", "99887766554433"),
        ("9988776655443B", "9988776655443"),
        ("+C0TBA123456789012", "TBA123456789012"),
        ("C1PARCEL000123", "PARCEL000123"),
        ("#PARCEL000123#", "PARCEL000123"),
    ],
)
def test_characters_around_a_code_that_may_be_framing_give_it_one_more_name(text: str, inner: str) -> None:
    found = identify(text)
    assert inner in found.codes
    assert normal(text) in found.codes
    assert found.fault is None
