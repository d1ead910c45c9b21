"""Whether a piece of a stream is a whole JPEG, without decoding it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.jpeg import Jpeg, encode, size

IMAGE = np.random.default_rng(1).integers(0, 255, (90, 160, 3), np.uint8)
PICTURE = cv2.imencode(".jpg", IMAGE)[1].tobytes()
PROGRESSIVE = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()


@pytest.mark.parametrize("content", [PICTURE, PROGRESSIVE], ids=["baseline", "progressive"])
def test_a_whole_picture_is_known_with_its_size_and_is_its_own_bytes(content: bytes) -> None:
    found = Jpeg.whole(content)
    assert found
    assert (found.width, found.height) == (160, 90) == size(content)
    assert bytes(found.data) == content
    assert found.image.shape == (90, 160, 3)


@pytest.mark.parametrize("filling", [b"\0", b"\0" * 3, b"\0" * 100_000, b"\0\xff\xd8 more"], ids=len)
def test_what_a_camera_fills_up_behind_a_picture_is_cut_off(filling: bytes) -> None:
    found = Jpeg.whole(PICTURE + filling)
    assert found
    assert bytes(found.data) == PICTURE


def test_room_behind_a_picture_is_not_kept_in_memory() -> None:
    found = Jpeg.whole(memoryview(PICTURE + bytes(1_000_000)))
    assert found
    assert isinstance(found.data, bytes) or found.data.obj is not None
    held = found.data if isinstance(found.data, bytes) else found.data.obj
    assert len(held) == len(PICTURE)


def test_a_picture_that_breaks_off_anywhere_is_not_whole() -> None:
    assert [end for end in range(len(PICTURE)) if Jpeg.whole(PICTURE[:end])] == []


def test_a_picture_that_breaks_off_behind_its_own_thumbnail_is_not_whole() -> None:
    thumbnail = b"\xff\xe1" + (2 + len(PICTURE)).to_bytes(2, "big") + PICTURE
    with_thumbnail = PICTURE[:2] + thumbnail + PICTURE[2:]
    assert Jpeg.whole(with_thumbnail)
    assert Jpeg.whole(with_thumbnail[: 2 + len(thumbnail)]) is None
    assert Jpeg.whole(with_thumbnail[: 2 + len(thumbnail) + len(PICTURE) // 2]) is None


def test_a_picture_larger_than_a_board_can_decode_is_none() -> None:
    at = PICTURE.index(b"\xff\xc0")
    assert Jpeg.whole(PICTURE[: at + 5] + b"\xff\xff\xff\xff" + PICTURE[at + 9 :]) is None


def test_a_picture_without_huffman_tables_as_webcams_send_it_is_decoded() -> None:
    # The tables of such pictures are the usual ones, which OpenCV writes, too.
    at, without = 2, PICTURE[:2]
    while PICTURE[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(PICTURE[at + 2 : at + 4], "big")
        without += b"" if PICTURE[at + 1] == 0xC4 else PICTURE[at:end]
        at = end
    found = Jpeg.whole(without + PICTURE[at:])
    assert found
    assert np.array_equal(found.image, cv2.imdecode(np.frombuffer(PICTURE, np.uint8), cv2.IMREAD_COLOR))


def test_a_picture_that_is_whole_and_nonsense_is_none_when_somebody_looks_at_it() -> None:
    at = PICTURE.index(b"\xff\xc0")
    nonsense = Jpeg.whole(PICTURE[: at + 4] + b"\x63" + PICTURE[at + 5 :])
    assert nonsense
    assert nonsense.image is None


@given(st.binary(max_size=300), st.integers(0, 3))
def test_no_bytes_whatever_disturb(content: bytes, kind: int) -> None:
    beginning = (b"", b"\xff\xd8", b"\xff\xd8\xff", PICTURE[:300])[kind]
    found = Jpeg.whole(beginning + content)
    assert found is None or len(found.data) <= len(beginning + content)


def test_a_picture_is_made_a_jpeg() -> None:
    data = encode(IMAGE)
    assert data is not None
    assert Jpeg.whole(data)
    assert encode(np.zeros((0, 0, 3), np.uint8)) is None
