"""Texts of times mean instants, whatever offset they are written with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.references import reference_faults
from contract.times import EARLIEST_MS, LATEST_MS, unix_ms
from tests.contract.examples import block


@given(st.text(max_size=40))
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    milliseconds = unix_ms(text)
    assert milliseconds is None or EARLIEST_MS <= milliseconds <= LATEST_MS


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "in_order"),
    [
        ("2026-11-21T14:00:00+05:30", "2026-11-21T09:00:00Z", True),
        ("2026-11-21T09:00:00Z", "2026-11-21T14:00:00+05:30", False),
        ("2026-11-21t09:00:00z", "2026-11-21T09:59:60Z", True),
    ],
)
def test_a_block_ends_after_it_has_begun_whatever_the_offsets(starts_at: str, ends_at: str, in_order: bool) -> None:
    data = block(starts_at=starts_at, ends_at=ends_at)
    assert [fault.path for fault in reference_faults("block.assigned", data)] == ([] if in_order else ["ends_at"])
