"""Log lines about what strangers send: few whatever comes, counted, and in one line each."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.limited_log import MAX_CHARACTERS, LimitedLog, printable

LOG = logging.getLogger("strangers")


def test_of_many_lines_the_first_are_written_and_the_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [0.0]
    lines = LimitedLog(LOG, "messages", lines=3, within_s=60, clock=lambda: now_s[0])
    for number in range(1000):
        lines.warning("message %d", number)
    assert caplog.messages == ["message 0", "message 1", "message 2 (more of them are only counted for 60 s)"]
    now_s[0] = 61
    lines.warning("message %d", 1000)
    lines.warning("message %d", 1001)
    assert caplog.messages[3:] == ["message 1000 (997 more lines about messages were not written)", "message 1001"]


def test_a_text_from_outside_cannot_write_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    LimitedLog(LOG, "messages").warning("a member %s", "x\n2026-11-21 ERROR forged\x1b[2J\u202e\x85" + "y" * 1000)
    (line,) = caplog.messages
    assert line.isprintable()
    assert len(line) < 2 * MAX_CHARACTERS


def test_an_unforeseen_fault_shows_where_it_was_raised_and_not_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    def reads(message: str) -> None:
        raise ValueError(message)

    try:
        reads("the access code is " + "12" * 2)
    except ValueError as fault:
        LimitedLog(LOG, "messages").warning("a message: %s", type(fault).__name__, fault=fault)
    (line,) = caplog.messages
    assert "in reads" in line
    assert "1212" not in line


@given(st.text(max_size=300))
def test_whatever_is_shown_is_one_line_that_moves_no_cursor(text: str) -> None:
    assert printable(text).isprintable()
