"""Media are on the disk before their event, never served when they are not what was put in, and never fill the disk."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.files import FileError
from agent.identity.seal import Sealer, SealError
from agent.journal.entries import JournalError, JournalFull
from agent.journal.media import FRAME_BYTES, MediaStore
from contract.upward import UPWARD
from tests.crash import crash_states
from tests.power import Disk

PHOTO = b"\xff\xd8 a photo \xff\xd9" * 1000
LIMIT = 400_000
"""Of the journal; media take a quarter."""


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path, {})


def stored_in(state_dir: Path, sealer: Sealer, max_bytes: int = LIMIT) -> MediaStore:
    return MediaStore(state_dir, max_bytes=max_bytes, unseal=sealer.open_bytes)


@pytest.fixture
def media(tmp_path: Path, sealer: Sealer) -> MediaStore:
    return stored_in(tmp_path, sealer)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files(state_dir: Path) -> list[Path]:
    return sorted((state_dir / "media").iterdir())


def photo(number: int, size: int = 30_000) -> bytes:
    return b"%d " % number * (size // len(b"%d " % number))


# ---------------------------------------------------------------------- kept as it was


@pytest.mark.parametrize("scope", [None, "B1"])
def test_what_is_put_in_comes_out_also_after_a_restart(
    tmp_path: Path, sealer: Sealer, media: MediaStore, scope: str | None
) -> None:
    stored = media.put(PHOTO, "image/jpeg", sealer.scope(scope) if scope else None).media
    assert (stored.sha256, stored.bytes, stored.content_type) == (digest(PHOTO), len(PHOTO), "image/jpeg")
    assert media.read(stored.sha256) == PHOTO
    again = stored_in(tmp_path, sealer)
    assert again.all() == [stored]
    assert again.read(stored.sha256) == PHOTO


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.binary(max_size=2000) | st.integers(1, 3 * FRAME_BYTES).map(bytes), min_size=1),
    sealed=st.booleans(),
)
def test_any_content_in_any_pieces_comes_out_whole(
    tmp_path_factory: pytest.TempPathFactory, sealer: Sealer, pieces: list[bytes], sealed: bool
) -> None:
    media = stored_in(tmp_path_factory.mktemp("state"), sealer, 1 << 30)
    content = b"".join(pieces)
    if not content:
        with pytest.raises(JournalError, match="expected at least one"):
            media.put(iter(pieces), "image/png", sealer.scope("B1") if sealed else None)
        return
    stored = media.put(iter(pieces), "image/png", sealer.scope("B1") if sealed else None).media
    assert stored.sha256 == digest(content)
    assert media.read(stored.sha256) == content


def test_the_same_content_twice_is_one_file(tmp_path: Path, sealer: Sealer, media: MediaStore) -> None:
    first = media.put(PHOTO, "image/jpeg").media
    assert media.put(PHOTO, "image/jpeg").media == first
    assert [path.name for path in files(tmp_path)] == [digest(PHOTO)]
    for _ in range(2):
        media.put(PHOTO, "image/jpeg", sealer.scope("B1"))
    assert len(files(tmp_path)) == 2


def test_a_manifest_counts_the_parts_that_are_sent(media: MediaStore) -> None:
    stored = media.put(bytes(100_000 - 1000), "image/jpeg").media
    assert stored.manifest(1000)["parts"] == 99
    assert stored.manifest(99_001)["parts"] == stored.manifest(99_000)["parts"] == 1
    told = stored.manifest(10_000)
    assert list(told) == ["sha256", "bytes", "content_type", "part_bytes", "parts"]
    assert UPWARD["media_manifest"].validate_python(told) == told


def test_only_the_unit_may_read_them(tmp_path: Path, media: MediaStore) -> None:
    media.put(PHOTO, "image/jpeg")
    assert (tmp_path / "media").stat().st_mode & 0o777 == 0o700
    assert files(tmp_path)[0].stat().st_mode & 0o777 == 0o600


# ---------------------------------------------------------------------- sealed


def test_sealed_media_show_nothing_on_the_disk_and_cannot_be_read_once_their_scope_is_wiped(
    tmp_path: Path, sealer: Sealer, media: MediaStore
) -> None:
    stored = media.put(PHOTO, "image/jpeg", sealer.scope("B1")).media
    assert b"a photo" not in files(tmp_path)[0].read_bytes()
    sealer.forget("B1")
    with pytest.raises(SealError, match="B1 cannot be opened: its key was wiped"):
        media.read(stored.sha256)


def test_what_two_scopes_share_stays_readable_while_one_of_them_lives(sealer: Sealer, media: MediaStore) -> None:
    for scope in ("B1", "B2"):
        media.put(PHOTO, "image/jpeg", sealer.scope(scope))
    sealer.forget("B1")
    assert media.read(digest(PHOTO)) == PHOTO


def test_content_that_is_put_again_after_its_scope_was_wiped_can_be_read(sealer: Sealer, media: MediaStore) -> None:
    media.put(PHOTO, "image/jpeg", sealer.scope("B1"))
    sealer.forget("B1")
    media.put(PHOTO, "image/jpeg", sealer.scope("B1"))
    assert media.read(digest(PHOTO)) == PHOTO


def test_frames_in_another_order_are_not_served(tmp_path: Path, sealer: Sealer) -> None:
    media = stored_in(tmp_path, sealer, 1 << 30)
    stored = media.put(b"a" * FRAME_BYTES + b"b" * FRAME_BYTES, "video/mp4", sealer.scope("B1")).media
    path = files(tmp_path)[0]
    content = path.read_bytes()
    frame = 4 + int.from_bytes(content[:4])
    path.write_bytes(content[frame : 2 * frame] + content[:frame] + content[2 * frame :])
    with pytest.raises(JournalError, match="its content does not match its name"):
        media.read(stored.sha256)


# ---------------------------------------------------------------------- altered, and what is no media


@pytest.mark.parametrize("scope", [None, "B1"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_was_altered_is_never_served(
    tmp_path_factory: pytest.TempPathFactory, sealer: Sealer, scope: str | None, data: st.DataObject
) -> None:
    state_dir = tmp_path_factory.mktemp("state")
    media = stored_in(state_dir, sealer)
    stored = media.put(PHOTO[:500], "image/jpeg", sealer.scope(scope) if scope else None).media
    path = files(state_dir)[0]
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "grow"])):
        case "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[at:]
        case "grow":
            content[at:at] = b"x"
    path.write_bytes(content)
    for store in (media, stored_in(state_dir, sealer)):
        with pytest.raises((JournalError, SealError)):
            store.read(stored.sha256)


def test_a_file_that_was_altered_is_put_right_by_the_same_content(tmp_path: Path, media: MediaStore) -> None:
    media.put(PHOTO, "image/jpeg")
    files(tmp_path)[0].write_bytes(b"damaged")
    media.put(PHOTO, "image/jpeg")
    assert media.read(digest(PHOTO)) == PHOTO


def test_links_pipes_folders_and_foreign_files_are_passed_over(
    tmp_path: Path, sealer: Sealer, media: MediaStore, caplog: pytest.LogCaptureFixture
) -> None:
    media.put(PHOTO, "image/jpeg")
    kept = files(tmp_path)[0]
    (tmp_path / "elsewhere").write_bytes(kept.read_bytes())
    folder = tmp_path / "media"
    os.mkfifo(folder / digest(b"pipe"))
    (folder / digest(b"folder")).mkdir()
    (folder / "notes.txt").write_text("a technician was here")
    (folder / digest(b"renamed")).write_bytes(kept.read_bytes())
    kept.unlink()
    kept.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="cannot be used"):
        media.read(digest(PHOTO))
    with caplog.at_level(logging.WARNING):
        again = stored_in(tmp_path, sealer)
    assert again.all() == []
    assert all(path.name in caplog.text for path in files(tmp_path))
    again.remove_orphans(set())
    assert len(files(tmp_path)) == 5


@pytest.mark.parametrize("name", ["", "../seal.key", digest(b"never put")])
def test_what_was_never_put_is_an_error(media: MediaStore, name: str) -> None:
    with pytest.raises(JournalError, match="are not kept here"):
        media.read(name)


# ---------------------------------------------------------------------- room


def test_without_room_media_are_refused_and_nothing_of_them_is_left(tmp_path: Path, media: MediaStore) -> None:
    for number in range(3):
        media.put(photo(number), "image/jpeg")
    with pytest.raises(JournalFull, match=r"no room for .* of media.* raise journal\.max_bytes"):
        media.put(photo(3), "image/jpeg")
    assert len(files(tmp_path)) == len(media.waiting()) == 3


def test_what_is_kept_already_needs_no_room(tmp_path: Path, sealer: Sealer, media: MediaStore) -> None:
    for number in range(3):
        media.put(photo(number), "image/jpeg", sealer.scope("B1"))
    for number in range(3):
        media.put(photo(number), "image/jpeg", sealer.scope("B1"))
    assert len(files(tmp_path)) == 3


def test_streams_at_the_same_time_share_the_room(media: MediaStore) -> None:
    def camera(*, full: bool) -> Iterable[bytes]:
        yield bytes(60_000)
        if full:
            with pytest.raises(JournalFull):
                media.put(camera(full=False), "video/mp4")
            media.put(photo(1), "image/jpeg")
        yield b"the end"

    media.put(camera(full=True), "video/mp4")
    assert len(media.all()) == 2


def test_a_stream_that_never_ends_is_refused_before_it_fills_the_disk(tmp_path: Path, media: MediaStore) -> None:
    taken = 0

    def camera() -> Iterable[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(10_000)

    with pytest.raises(JournalFull):
        media.put(camera(), "video/mp4")
    assert taken == LIMIT // 4 // 10_000 + 1
    assert files(tmp_path) == []


def test_confirmed_media_make_room_the_oldest_first_and_are_told(media: MediaStore) -> None:
    first, second, third = (media.put(photo(number), "image/jpeg").media for number in range(3))
    media.confirm(first.sha256)
    media.confirm(third.sha256)
    assert media.waiting() == [second]
    stored = media.put(photo(3), "image/jpeg")
    assert stored.dropped == (first,)
    assert media.all() == [second, third, stored.media]
    with pytest.raises(JournalError, match="are not kept here"):
        media.read(first.sha256)


def test_after_a_restart_nothing_goes_before_the_log_has_said_that_it_may(
    tmp_path: Path, sealer: Sealer, media: MediaStore
) -> None:
    for number in range(3):
        media.confirm(media.put(photo(number), "image/jpeg").media.sha256)
    again = stored_in(tmp_path, sealer)
    with pytest.raises(JournalFull):
        again.put(photo(3), "image/jpeg")
    again.confirm(digest(photo(1)))
    assert [each.sha256 for each in again.put(photo(3), "image/jpeg").dropped] == [digest(photo(1))]


def test_a_full_disk_is_a_want_of_room_and_a_broken_one_a_fault(
    tmp_path: Path, media: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(number: int) -> None:
        def fail(_: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)

    fsync(errno.ENOSPC)
    with pytest.raises(JournalFull, match="free space on the disk"):
        media.put(PHOTO, "image/jpeg")
    fsync(errno.EIO)
    with pytest.raises(FileError, match="check the disk"):
        media.put(PHOTO, "image/jpeg")
    assert not media.all()
    assert not files(tmp_path)
    monkeypatch.undo()
    media.put(photo(0, 90_000), "image/jpeg")


def test_writers_of_the_same_and_of_other_contents_do_not_meet(tmp_path: Path, sealer: Sealer) -> None:
    media = stored_in(tmp_path, sealer, 1 << 30)
    contents = [photo(number) for number in range(4)]
    writers = [
        threading.Thread(target=lambda: [media.put(content, "image/jpeg") for content in contents]) for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {each.sha256 for each in media.all()} == set(map(digest, contents))
    assert all(media.read(digest(content)) == content for content in contents)
    assert media.size == sum(path.stat().st_size for path in files(tmp_path))


# ---------------------------------------------------------------------- letting go


def test_orphans_of_an_earlier_start_go_and_what_waits_for_its_event_stays(tmp_path: Path, sealer: Sealer) -> None:
    before = stored_in(tmp_path, sealer)
    named, orphan = (before.put(photo(number), "image/jpeg").media for number in range(2))
    media = stored_in(tmp_path, sealer)
    fresh = media.put(photo(2), "image/jpeg").media
    assert media.remove_orphans({named.sha256}, older_than_s=3600) == []
    assert media.remove_orphans({named.sha256}) == [orphan]
    assert media.all() == [named, fresh]
    assert {path.name for path in files(tmp_path)} == {named.sha256, fresh.sha256}


def test_an_orphan_that_is_put_again_waits_for_its_event(tmp_path: Path, sealer: Sealer) -> None:
    stored_in(tmp_path, sealer).put(PHOTO, "image/jpeg")
    media = stored_in(tmp_path, sealer)
    media.put(PHOTO, "image/jpeg")
    assert media.remove_orphans(set()) == []
    assert media.read(digest(PHOTO)) == PHOTO


def test_removing_takes_every_copy(tmp_path: Path, sealer: Sealer, media: MediaStore) -> None:
    other = media.put(photo(1), "image/jpeg").media
    media.put(PHOTO, "image/jpeg")
    media.put(PHOTO, "image/jpeg", sealer.scope("B1"))
    media.remove(digest(PHOTO))
    media.remove(digest(PHOTO))
    assert media.all() == [other]
    assert len(files(tmp_path)) == 1


# ---------------------------------------------------------------------- power cuts


@pytest.mark.parametrize("scope", [None, "B1"])
def test_a_power_cut_at_any_moment_leaves_media_whole_or_not_at_all(
    tmp_path: Path, sealer: Sealer, media: MediaStore, scope: str | None
) -> None:
    earlier = media.put(photo(1), "image/jpeg").media
    left = tmp_path / "left" / "media"
    left.parent.mkdir()
    whole = 0
    for _ in crash_states(
        tmp_path / "media", lambda: media.put(PHOTO, "image/jpeg", sealer.scope(scope) if scope else None), left
    ):
        after = stored_in(left.parent, sealer)
        assert {each.sha256 for each in after.all()} <= {earlier.sha256, digest(PHOTO)}
        for each in after.all():
            assert after.read(each.sha256) == (PHOTO if each.sha256 == digest(PHOTO) else photo(1))
        assert len(files(left.parent)) == len(after.all())
        whole += len(after.all()) == 2
    assert whole


def test_once_the_event_may_be_written_no_power_cut_takes_the_file(
    tmp_path: Path, sealer: Sealer, media: MediaStore
) -> None:
    left = tmp_path / "left" / "media"
    left.parent.mkdir()
    for _ in crash_states(tmp_path / "media", lambda: media.put(PHOTO, "image/jpeg"), left, finished=True):
        assert stored_in(left.parent, sealer).read(digest(PHOTO)) == PHOTO
    for _ in crash_states(tmp_path / "media", lambda: media.remove(digest(PHOTO)), left, finished=True):
        assert stored_in(left.parent, sealer).all() == []


@pytest.mark.power_cut
def test_media_survive_real_power_cuts_that_come_right_after_them(tmp_path: Path) -> None:
    if why := Disk.missing():
        pytest.skip(why)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    disk = Disk(tmp_path / "image", mounted)
    disk.make()
    try:
        sealer = Sealer(mounted, {})
        for number in range(6):
            media = stored_in(mounted, sealer, 64 << 20)
            assert len(media.all()) == number
            assert all(media.read(digest(photo(earlier))) == photo(earlier) for earlier in range(number))
            media.put(photo(number), "image/jpeg")
            disk.cut()
            disk.restore()
    finally:
        disk.remove()
