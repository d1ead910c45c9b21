"""The bytes and the hash of an event are those that another program computes."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.delivery.model.inputs import Moment
from agent.journal.envelope import Chain
from contract.canonical import GENESIS, canonical, content_hash
from contract.strict_json import parse
from tests.contract.test_strict_json import JSON


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
        ([1.0, 1e21, 1e-7, 0.1, -0.0], "[1,1e+21,1e-7,0.1,0]"),
        ({"\u20ac": 1, "\r": 2, "\U0001f600": 3, "\ufb33": 4}, '{"\\r":2,"\u20ac":1,"\U0001f600":3,"\ufb33":4}'),
    ],
)
def test_members_are_sorted_by_utf16_and_numbers_written_as_ecmascript_does(value: Any, text: str) -> None:
    assert canonical(value).decode() == text


@given(JSON)
def test_the_bytes_follow_from_the_value_alone(value: Any) -> None:
    once = canonical(value)
    assert canonical(parse(once)) == once


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=6), st.text(max_size=64))
def test_the_hash_covers_everything_but_itself(event: dict[str, Any], claimed: str) -> None:
    event.pop("hash", None)
    digest = content_hash({**event, "hash": claimed})
    assert digest == sha256(canonical(event)).hexdigest()
    assert content_hash({**event, "more": 1}) != digest or event.get("more") == 1


@given(st.dictionaries(st.text(max_size=12), JSON, max_size=6), st.text(max_size=30))
def test_an_event_of_the_journal_has_the_hash_that_the_contract_says(data: dict[str, Any], subject: str) -> None:
    entry = Chain("/fleet/u1", 0, GENESIS).add("parcel.loaded", subject, data, Moment(1, 2, "boot", "ntp"))
    event = parse(entry.payload)
    assert canonical(event) == entry.payload
    assert content_hash(event) == event["hash"]


def test_a_number_that_only_a_float_can_hold_is_hashed_as_the_float_that_it_is() -> None:
    entry = Chain("/fleet/u1", 0, GENESIS).add("parcel.loaded", "unit", {"n": 1e16}, Moment(1, 2, "boot", "ntp"))
    event = parse(entry.payload)
    assert content_hash(event) == event["hash"]
