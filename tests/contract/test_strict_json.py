"""Only JSON that every reader understands alike is taken, and what is taken can be written again by everybody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.canonical import canonical
from contract.strict_json import MAX_DEPTH, SAFE_INTEGER, StrictJsonError, parse

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE_INTEGER, SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
"""Values that are read and written without loss."""


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", "expected JSON, not what stands at line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1}\n{"a": 2}', "line 2, column 1"),
        (b"\xff\xfe\x00", "expected UTF-8, which byte 0 is not"),
        ('{"a": 1}'.encode("utf-16"), "expected UTF-8"),
        ('{"a": 1}'.encode("utf-8-sig"), "expected UTF-8 without a byte order mark"),
        ('{"a": 1}'.encode("utf-16-le"), "expected UTF-8, not UTF-16 or UTF-32"),
        ('{"a": 1}'.encode("utf-16-be"), "expected UTF-8, not UTF-16 or UTF-32"),
        ('{"a": 1}'.encode("utf-32-be"), "expected UTF-8, not UTF-16 or UTF-32"),
        (b"[" * 100_000, "levels of nesting"),
        (b"[" * 100_000 + b"]" * 100_000, "levels of nesting"),
        (b'{"a": ' + b"1" * 5000 + b"}", "expected whole numbers between"),
        (b'{"a": 9007199254740993}', "expected whole numbers between"),
        (b'{"a": -9007199254740993}', "expected whole numbers between"),
        (b'{"a": 123456789012345678901}', "expected whole numbers between"),
        (b'{"a": 1' + b"0" * 21 + b"}", "expected whole numbers between"),
        (b'{"a": 1e999}', "expected numbers that a 64-bit float can hold"),
        (b'{"a": -1' + b"0" * 400 + b".5}", "expected numbers that a 64-bit float can hold"),
        (b'{"a": NaN}', "expected JSON, which does not know NaN"),
        (b'{"a": -Infinity}', "expected JSON, which does not know -Infinity"),
        (b'{"a": "\\ud800"}', "expected text without lone surrogates"),
        (b'{"\\udfff": 1}', "expected text without lone surrogates"),
        (b'{"a": 1, "a": 1}', "expected each member of an object once"),
        (b'{"a": [{"b": 1, "c": 2, "\\u0062": 3}]}', "expected each member of an object once"),
    ],
)
def test_what_not_every_reader_understands_is_refused_with_what_was_expected(payload: bytes, expected: str) -> None:
    with pytest.raises(StrictJsonError) as caught:
        parse(payload)
    assert expected in str(caught.value)


def test_nesting_is_taken_up_to_its_limit_and_no_deeper() -> None:
    assert json.dumps(parse(nested(MAX_DEPTH)))
    for levels in (MAX_DEPTH + 1, 100, 900):
        with pytest.raises(StrictJsonError, match="levels of nesting"):
            parse(nested(levels))
    assert parse(b'["' + b"[" * 100 + b'"]') == ["[" * 100]


@given(JSON, st.booleans(), st.sampled_from([None, 2]))
def test_every_value_that_json_has_is_read_as_it_was_written(value: Any, ascii_only: bool, indent: int | None) -> None:
    read = parse(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode())
    assert read == value
    assert canonical(read) == canonical(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.floats(2.0**53, 1e22))
def test_a_number_as_canonical_json_writes_it_is_read_as_the_float_that_it_is(number: float) -> None:
    written = canonical([number])
    assert parse(written) == [number]
    assert canonical(parse(written)) == written


@given(st.binary(max_size=100) | st.text(alphabet='[]{}",:\\ud8c01-.eE+ntrfalse ', max_size=60).map(str.encode))
def test_whatever_the_bytes_are_they_are_read_like_everybody_reads_them_or_refused(payload: bytes) -> None:
    try:
        value = parse(payload)
    except StrictJsonError:
        return
    assert value == json.loads(payload, parse_int=float)
    assert parse(canonical(value)) == value
