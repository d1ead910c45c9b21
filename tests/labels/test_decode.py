"""`kerbside decode` shows symbols and parcels, and names the pictures that it cannot read."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

from label_pictures import page, save, symbol


def decode(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [sys.executable, "-c", "from agent.cli import main; main()", "decode", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def label(folder: Path) -> Path:
    return save(folder / "label.png", page(symbol("TBA123456789012"), symbol("https://kerbside.example", "QRCode")))


def test_each_picture_is_one_json_line_in_the_words_of_the_contract(tmp_path: Path) -> None:
    blank = save(tmp_path / "blank.png", page(symbol("A", "QRCode") * 0 + 255))
    done = decode("--json", label(tmp_path), blank)
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert list(first) == ["file", "symbols", "parcels"]
    assert first["file"] == str(tmp_path / "label.png")
    assert [list(one) for one in first["symbols"]] == [["text", "symbology", "identifier", "corners"]] * 2
    assert {key: first["symbols"][0][key] for key in ("text", "symbology", "identifier")} == {
        "text": "TBA123456789012",
        "symbology": "Code 128",
        "identifier": "]C0",
    }
    assert [len(corner) for corner in first["symbols"][0]["corners"]] == [2, 2, 2, 2]
    assert first["parcels"] == [{"tracking_number": "TBA123456789012", "carrier": "amazon", "kind": "amazon_tba"}]
    assert second == {"file": str(blank), "symbols": [], "parcels": []}


def test_a_picture_that_can_not_be_read_is_told_and_the_others_are_still_read(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"\xff\xd8\xff\xe0 not a picture")
    done = decode("--json", damaged, label(tmp_path), tmp_path / "absent.png")
    assert done.returncode == 1
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert list(first) == ["file", "error"]
    assert first["file"] == str(damaged)
    assert "JPEG" in first["error"]
    assert second["parcels"]
    assert "there is no such file" in third["error"]


def test_a_person_sees_the_symbols_and_the_parcel_and_the_fault_on_standard_error(tmp_path: Path) -> None:
    done = decode(label(tmp_path), tmp_path / "absent.png")
    assert done.returncode == 1
    assert "Code 128" in done.stdout
    assert "TBA123456789012  amazon  amazon_tba" in done.stdout
    assert "https://kerbside.example" in done.stdout
    assert done.stderr.strip() == f"{tmp_path / 'absent.png'}: there is no such file"


def test_a_number_with_a_wrong_check_digit_is_told_with_the_reason_and_is_no_parcel(tmp_path: Path) -> None:
    path = save(tmp_path / "wrong.png", page(symbol("1Z5R89390357567128")))
    assert "1Z5R89390357567128  UPS 1Z: check digit 8, expected 7" in decode(path).stdout
    assert json.loads(decode("--json", path).stdout)["parcels"] == []


def test_control_characters_in_a_code_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = save(tmp_path / "hostile.png", page(symbol("\x1b[31mred\x07[bold]", "QRCode")))
    done = decode(path)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "[bold]" in done.stdout


def test_without_a_picture_it_is_wrong_use() -> None:
    assert decode().returncode == 2


def test_someone_at_a_terminal_sees_how_many_of_the_pictures_are_read_and_the_lines_stay_as_they_are(
    tmp_path: Path,
) -> None:
    pictures = [label(tmp_path), tmp_path / "absent.png", label(tmp_path)]
    terminal, theirs = pty.openpty()
    shown = bytearray()

    def watch() -> None:
        # Reading fails once the other end is closed.
        with contextlib.suppress(OSError):
            while part := os.read(terminal, 4096):
                shown.extend(part)

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = [sys.executable, "-c", "from agent.cli import main; main()", "decode", "--json", *map(str, pictures)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True, timeout=60, check=False
    )
    os.close(theirs)
    watcher.join(10.0)
    os.close(terminal)
    assert done.returncode == 1
    assert [sorted(json.loads(line)) for line in done.stdout.splitlines()] == [
        ["file", "parcels", "symbols"],
        ["error", "file"],
        ["file", "parcels", "symbols"],
    ]
    assert "3/3" in shown.decode()


def test_the_postcode_and_the_product_on_a_label_are_no_parcels(tmp_path: Path) -> None:
    path = save(
        tmp_path / "label.png",
        page(symbol("420981091234", gs1=False), symbol("5901234123457", "EAN13"), symbol("1Z5R89390357567127")),
    )
    (answer,) = map(json.loads, decode("--json", path).stdout.splitlines())
    assert len(answer["symbols"]) == 3
    assert [parcel["tracking_number"] for parcel in answer["parcels"]] == ["1Z5R89390357567127"]
