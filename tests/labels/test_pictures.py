"""Picture files as people and attackers make them."""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_pictures import page, save, symbol

from agent.labels import LabelError
from agent.labels.pictures import MAX_FILE_BYTES, MAX_PIXELS
from agent.labels.reader import load, read
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp", ".gif"])
def test_a_picture_file_of_each_kind_is_loaded_and_read(tmp_path: Path, ending: str) -> None:
    picture = load(save(tmp_path / f"label{ending}", page(symbol("TBA123456789012"))))
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert [one.text for one in read(picture)] == ["TBA123456789012"]


def test_a_label_on_a_transparent_ground_is_read_as_if_on_paper(tmp_path: Path) -> None:
    drawn = symbol("TBA123456789012")
    black = np.zeros((*drawn.shape, 3), np.uint8)
    path = save(tmp_path / "label.png", np.dstack([black, 255 - drawn]))
    assert [one.text for one in read(load(path))] == ["TBA123456789012"]


def test_a_picture_of_sixteen_bits_and_a_grey_one_are_read(tmp_path: Path) -> None:
    drawn = symbol("TBA123456789012")
    for name, picture in (("deep.png", drawn.astype(np.uint16) * 257), ("grey.png", drawn)):
        assert [one.text for one in read(load(save(tmp_path / name, picture)))] == ["TBA123456789012"]


def cmyk(grey: bytes) -> bytes:
    """A grey JPEG as one of four inks, each printed like the grey: the frame names four parts, each has its scan."""
    frame, scan = grey.index(b"\xff\xc0"), grey.index(b"\xff\xda")
    head, size = grey[:frame], grey[frame + 5 : frame + 9]
    between, data = grey[frame + 13 : scan], grey[scan + 10 : -2]
    parts = b"".join(bytes((part, 0x11, 0)) for part in range(1, 5))
    scans = b"".join(b"\xff\xda\0\x08\x01" + bytes((part, 0)) + b"\0\x3f\0" + data for part in range(1, 5))
    return head + b"\xff\xc0\0\x14\x08" + size + b"\x04" + parts + between + scans + b"\xff\xd9"


def test_a_picture_for_print_in_four_inks_is_read(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    path.write_bytes(cmyk(cv2.imencode(".jpg", symbol("TBA123456789012"))[1].tobytes()))
    assert [one.text for one in read(load(path))] == ["TBA123456789012"]


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp", ".bmp", ".gif"])
@pytest.mark.parametrize("kept", [0.03, 0.5, 0.9])
def test_a_picture_that_is_cut_off_is_refused_with_the_reason(tmp_path: Path, ending: str, kept: float) -> None:
    whole = save(tmp_path / f"whole{ending}", page(symbol("TBA123456789012"))).read_bytes()
    path = tmp_path / f"cut{ending}"
    path.write_bytes(whole[: max(12, int(len(whole) * kept))])
    with pytest.raises(LabelError, match=r"cut.*(cut off or damaged|gives no size)"):
        load(path)


PNG = b"\x89PNG\r\n\x1a\n"
LARGE = 60_000


def chunk(name: bytes, data: bytes, *, length: int | None = None) -> bytes:
    """Of a PNG; `length` is what it says of itself."""
    said = len(data) if length is None else length
    return struct.pack(">I", said) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, bits: int = 8, colour: int = 0, before: bytes = b"", packed: bytes = b"") -> bytes:
    """A PNG that says it is of this size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return PNG + header + before + chunk(b"IDAT", packed or zlib.compress(bytes(5000))) + chunk(b"IEND", b"")


def jpeg(width: int, height: int, *options: int) -> bytes:
    """A JPEG of 16 x 16 pixels that says it is of this size."""
    small = cv2.imencode(".jpg", np.full((16, 16, 3), 200, np.uint8), options)[1].tobytes()
    frame = re.search(rb"\xff[\xc0-\xc2]", small)
    assert frame is not None
    return small[: frame.end() + 3] + struct.pack(">HH", height, width) + small[frame.end() + 7 :]


def webp_canvas(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + size + bytes(9)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(20)


@pytest.mark.parametrize(
    ("name", "data", "most"),
    [
        ("bomb.png", png(LARGE, LARGE), MAX_PIXELS),
        ("alpha.png", png(LARGE, LARGE, colour=6), MAX_PIXELS // 2),
        ("transparent.png", png(LARGE, LARGE, before=chunk(b"tRNS", b"\0\0")), MAX_PIXELS // 2),
        ("deep.png", png(LARGE, LARGE, bits=16, colour=6), MAX_PIXELS // 4),
        ("bomb.jpg", jpeg(LARGE, LARGE), MAX_PIXELS),
        ("bomb.gif", gif(LARGE, LARGE), MAX_PIXELS // 2),
        ("bomb.bmp", b"BM" + bytes(16) + struct.pack("<ii", LARGE, -LARGE) + bytes(20), MAX_PIXELS),
        ("bomb.webp", webp_canvas(LARGE, LARGE), MAX_PIXELS // 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused_before_unpacking(
    tmp_path: Path, name: str, data: bytes, most: int
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LabelError, match=rf"{name}: 60000 x 60000 pixels, expected at most {most}:"):
        load(tmp_path / name)


def endless(megabytes: int) -> bytes:
    """Packed zeros: a thousandth of what they become."""
    packer = zlib.compressobj(9)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * megabytes


def scans(count: int) -> bytes:
    """A progressive JPEG that goes over its 39 million pixels again and again, ten bytes a time."""
    whole = jpeg(6300, 6300, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    codes = b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + bytes([1, *[0] * 15]) + b"\xe0"
    again = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 63, 0) + bytes(2)
    return whole[: whole.index(b"\xff\xda")] + codes + again * count + b"\xff\xd9"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("data-of-4-gb.png", lambda: png(50, 50, before=chunk(b"IDAT", bytes(9), length=0xFFFFFFF0))),
        ("text-of-2-gb.png", lambda: png(50, 50, before=chunk(b"tEXt", b"a\0b", length=0x7FFFFFF0))),
        (
            "packed-texts.png",
            lambda: png(50, 50, before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7 << 20))) * 900),
        ),
        ("endless.png", lambda: png(50, 50, packed=endless(10_000))),
        ("endless-rows.png", lambda: png(6300, 6300, packed=endless(10_000))),
        ("parts.png", lambda: png(50, 50, before=chunk(b"tEXt", b"a\0b") * 4_000_000)),
        ("segments.jpg", lambda: b"\xff\xd8" + b"\xff\xfe\0\x02" * 15_000_000 + jpeg(16, 16)[2:]),
        ("scans.jpg", lambda: scans(5000)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_picture_does_not_take_the_memory_of_a_unit(
    tmp_path: Path, name: str, make: Callable[[], bytes]
) -> None:
    (tmp_path / name).write_bytes(make())
    code = (
        "import sys, pathlib, numpy\n"
        "from agent.labels import LabelError, engines, pictures\n"
        "from tests.process import peak_bytes\n"
        "engines.opencv()\n"
        "before = peak_bytes()\n"
        "try: pictures.load(pathlib.Path(sys.argv[1]))\n"
        "except LabelError: pass\n"
        "print((peak_bytes() - before) // 1024)"
    )
    # A picture library that is left alone with such a file goes on for minutes.
    kilobytes = subprocess.check_output([sys.executable, "-c", code, tmp_path / name], cwd=ROOT, timeout=PATIENCE_S)
    assert int(kilobytes) < 300_000


def test_what_a_picture_program_adds_to_its_picture_is_no_fault(tmp_path: Path) -> None:
    drawn = cv2.imencode(".png", page(symbol("TBA123456789012")))[1].tobytes()
    at = len(PNG) + 25
    added = chunk(b"pHYs", bytes(9)) + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b")) + chunk(b"abCd", bytes(70))
    (tmp_path / "more.png").write_bytes(drawn[:at] + added + drawn[at:] + b"behind the end")
    photo = cv2.imencode(".jpg", page(symbol("TBA123456789012")))[1].tobytes()
    preview = b"\xff\xe1" + struct.pack(">H", 2 + len(photo[:60_000])) + photo[:60_000]
    (tmp_path / "more.jpg").write_bytes(photo[:2] + preview + photo[2:] + b"\xff\xda" * 100)
    for name in ("more.png", "more.jpg"):
        assert [one.text for one in read(load(tmp_path / name))] == ["TBA123456789012"]


def test_a_picture_without_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.png").write_bytes(png(0, 0))
    with pytest.raises(LabelError, match="0 x 0 pixels"):
        load(tmp_path / "none.png")


def test_what_is_not_a_picture_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>")
    for name, reason in (
        ("empty.png", "an empty file"),
        ("page.jpg", "3c 68 74"),
        ("", "not a file"),
        ("no.png", "no such"),
    ):
        with pytest.raises(LabelError, match=reason):
            load(tmp_path / name)


def test_a_file_beyond_the_size_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.write(png(10, 10))
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(LabelError, match="bytes, expected at most"):
        load(path)


HEADERS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"RIFF\0\0\0\0WEBPVP8 ",
    b"RIFF\0\0\0\0WEBPVP8L",
]


@given(st.sampled_from(HEADERS), st.binary(max_size=200))
@settings(max_examples=200)
def test_noise_behind_the_header_of_a_picture_is_refused_or_loaded_but_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, header: bytes, noise: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(header + noise)
    # Anything but a picture or a LabelError fails the test by itself.
    with contextlib.suppress(LabelError):
        assert load(path).shape[2] == 3


def test_a_picture_one_pixel_high_is_refused(tmp_path: Path) -> None:
    for name, shape in (("long.png", (1, 30_000)), ("tall.png", (30_000, 1))):
        with pytest.raises(LabelError, match=f"{shape[1]} x {shape[0]} pixels"):
            load(save(tmp_path / name, np.full(shape, 255, np.uint8)))


def test_a_photo_of_twelve_megapixels_is_read_in_the_memory_of_a_small_board(tmp_path: Path) -> None:
    photo = np.full((3000, 4000, 3), 170, np.uint8)
    label = page(symbol("TBA123456789012", scale=6))
    photo[1200 : 1200 + label.shape[0], 1000 : 1000 + label.shape[1]] = label
    turned = cv2.warpAffine(photo, cv2.getRotationMatrix2D((2000, 1500), 33, 1), (4000, 3000), borderValue=(170,) * 3)
    path = save(tmp_path / "photo.jpg", turned)
    code = (
        "import sys; from pathlib import Path; from agent.labels.reader import load, read;"
        "from tests.process import peak_bytes;"
        "found = read(load(Path(sys.argv[1])));"
        "print(found[0].text, peak_bytes() >> 20)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, check=True, capture_output=True, text=True)
    text, peak_mib = done.stdout.split()
    assert text == "TBA123456789012"
    assert int(peak_mib) <= 250
