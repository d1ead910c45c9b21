"""Secrets at rest: opened only with their scope's key, and never again once that is wiped."""

from __future__ import annotations

import base64
import sqlite3
import threading
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identity.seal import Sealer, SealError
from agent.journal.entries import Batch, InboxEntry
from agent.journal.store import Journal
from tests.journal.writing import Writer, opened, write_all
from tests.waiting import wait_until

SECRET = "#4711-gate-code"


def all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()) if path.name != "seal.key")


def scope_key(sealer: Sealer, scope: str) -> bytes:
    return sealer._unit_key.decrypt(sealer.scope(scope).keys[scope], b"key/" + scope.encode())


def test_a_sealed_secret_is_opened_again_also_after_a_restart(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    token = sealer.scope("B7").seal(SECRET)
    assert token.startswith("sealed:v1:")
    assert SECRET not in token
    assert sealer.open("B7", token) == SECRET
    assert Sealer(tmp_path, sealer.scope("B7").keys).open("B7", token) == SECRET


@given(text=st.text(st.characters(exclude_categories=["Cs"])), scope=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_of_any_scope_can_be_sealed(text: str, scope: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    sealer = Sealer(tmp_path_factory.getbasetemp(), {})
    assert sealer.open(scope, sealer.scope(scope).seal(text)) == text


def test_the_same_secret_never_gives_the_same_token(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    assert len({sealer.scope("B7").seal(SECRET) for _ in range(50)}) == 50


def test_the_key_of_a_scope_goes_with_each_of_its_messages_because_the_first_may_be_refused(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    first, _, second = sealer.scope("B7"), sealer.scope("roster"), sealer.scope("B7")
    assert set(second.keys) == {"B7"}
    assert first.keys == second.keys
    assert Sealer(tmp_path, second.keys).open("B7", second.seal("c")) == "c"


def test_what_one_message_seals_is_sealed_with_one_key_also_when_that_key_goes_in_the_meantime(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    before = sealer.scope("B7")
    tokens = [before.seal("a")]
    sealer.reload({})
    after = sealer.scope("B7")
    tokens.append(before.seal("b"))
    assert [Sealer(tmp_path, before.keys).open("B7", token) for token in tokens] == ["a", "b"]
    assert not sealer.holds(before.keys), "whoever writes it now would write it under a key that the next one replaces"
    assert sealer.holds(after.keys)
    assert sealer.holds({})


def test_a_secret_of_another_scope_is_not_opened(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    token = sealer.scope("B7").seal(SECRET)
    sealer.scope("B8").seal("other")
    with pytest.raises(SealError, match="a secret of B8 cannot be opened: the token is damaged or of another scope"):
        sealer.open("B8", token)


def test_a_forgotten_scope_cannot_be_opened(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    scope = sealer.scope("B7")
    token = scope.seal(SECRET)
    sealer.forget("B7")
    assert not sealer.holds(scope.keys)
    with pytest.raises(SealError, match="its key was wiped or never existed"):
        sealer.open("B7", token)


@pytest.mark.parametrize("token", ["", "sealed:v1:", "sealed:v1:!!!", "sealed:v1:AAAA", "plain text", "sealed:v2:AAAA"])
def test_a_token_that_is_none_is_refused_without_being_shown(tmp_path: Path, token: str) -> None:
    sealer = Sealer(tmp_path, {})
    sealer.scope("B7").seal(SECRET)
    with pytest.raises(SealError) as refused:
        sealer.open("B7", token)
    assert SECRET not in str(refused.value)
    assert "plain" not in str(refused.value)


def test_a_token_that_is_damaged_leaves_the_others_of_a_document_open(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    scope = sealer.scope("block/B7")
    document = {"a": scope.seal("gate"), "b": [scope.seal({"line1": "Achterom 1"}), 7], "c": "sealed:v1:AAAA", "d": "x"}
    opened = {"a": "gate", "b": [{"line1": "Achterom 1"}, 7], "c": None, "d": "x"}
    assert sealer.opened("block/B7", document) == opened
    sealer.forget("block/B7")
    assert sealer.opened("block/B7", document) == {"a": None, "b": [None, 7], "c": None, "d": "x"}


def test_a_changed_token_is_refused(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    token = sealer.scope("B7").seal(SECRET)
    middle = len(token) // 2
    with pytest.raises(SealError):
        sealer.open("B7", token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :])


def test_a_secret_of_a_card_without_its_unit_key_cannot_be_opened(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    token = sealer.scope("B7").seal(SECRET)
    keys = sealer.scope("B7").keys
    (tmp_path / "seal.key").unlink()
    other = Sealer(tmp_path, keys)
    with pytest.raises(SealError, match=r"the key of B7 cannot be unwrapped: .*seal\.key is not the one"):
        other.open("B7", token)
    assert other.open("B9", other.scope("B9").seal("new")) == "new"


def test_the_unit_key_is_for_its_owner_only(tmp_path: Path) -> None:
    Sealer(tmp_path, {})
    path = tmp_path / "seal.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    assert not list(tmp_path.glob("*.new"))


def test_a_unit_key_of_the_wrong_size_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "seal.key").write_bytes(b"short")
    (tmp_path / "seal.key").chmod(0o600)
    with pytest.raises(SealError, match="holds 5 bytes, expected 32: restore it"):
        Sealer(tmp_path, {})
    assert (tmp_path / "seal.key").read_bytes() == b"short"


def test_many_threads_share_one_key_of_a_scope(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path, {})
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda: tokens.append(sealer.scope("B7").seal(SECRET))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {sealer.open("B7", token) for token in tokens} == {SECRET}


# --- together with the journal -----------------------------------------------------------------------------------


def assign(journal: Journal, sealer: Sealer, scope: str) -> str:
    """A block message with a secret, as it goes into the log."""
    token = sealer.scope(scope).seal(SECRET)
    entry = InboxEntry(f"m-{scope}", "block", "block.assigned", "", b'{"access_codes": ["%s"]}' % token.encode())
    assert write_all(journal, [Batch((entry,), keys=sealer.scope(scope).keys)]) == [None]
    return token


def close_block(journal: Journal, sealer: Sealer, *scopes: str) -> None:
    sealer.forget(scopes[0])
    assert write_all(journal, [Batch(forget=scopes)]) == [None]
    wait_until(lambda: not journal._wipe, "the wiping")


def test_keys_live_in_the_journal_and_are_gone_when_the_block_closes(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    sealer = Sealer(tmp_path, journal.keys())
    tokens = {scope: assign(journal, sealer, scope) for scope in ("B7", "B8")}
    journal.close()

    journal = opened(tmp_path)
    sealer = Sealer(tmp_path, journal.keys())
    assert sealer.open("B7", tokens["B7"]) == SECRET
    close_block(journal, sealer, "B7")
    journal.close()

    journal = opened(tmp_path)
    sealer = Sealer(tmp_path, journal.keys())
    with pytest.raises(SealError, match="wiped"):
        sealer.open("B7", tokens["B7"])
    assert sealer.open("B8", tokens["B8"]) == SECRET
    journal.close()


def test_no_secret_is_ever_on_the_disk_and_a_wiped_key_is_in_no_byte_of_it(tmp_path: Path) -> None:
    random = Random(5)
    journal = opened(tmp_path)
    sealer = Sealer(tmp_path, {})
    writer = Writer(journal)
    wrapped: dict[str, bytes] = {}
    raw: dict[str, bytes] = {}
    # Enough keys for several pages, so that rows move between them, and wiped in no order.
    for number in range(150):
        scope = f"block-{number}"
        assign(journal, sealer, scope)
        wrapped[scope], raw[scope] = journal.keys()[scope], scope_key(sealer, scope)
        writer.write(writer.event(), snapshot=random.randbytes(random.randint(10, 9000)))
    content = all_bytes(tmp_path)
    assert all(key in content for key in wrapped.values()), "the test would notice a key"

    scopes = list(wrapped)
    random.shuffle(scopes)
    while scopes:
        wiped, scopes = scopes[:10], scopes[10:]
        for scope in wiped:
            sealer.forget(scope)
        close_block(journal, sealer, *wiped)
        content = all_bytes(tmp_path)
        assert not [scope for scope in wiped if wrapped[scope] in content]
        assert all(wrapped[scope] in content for scope in scopes)
        assert not [scope for scope, key in raw.items() if key in content]
        assert SECRET.encode() not in content
        writer.write(writer.event(), snapshot=random.randbytes(random.randint(10, 9000)))
    journal.close()
    content = all_bytes(tmp_path)
    assert not [scope for scope, key in wrapped.items() if key in content]


def test_a_reader_only_delays_the_wiping(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    sealer = Sealer(tmp_path, {})
    writer = Writer(journal)
    assign(journal, sealer, "B7")
    key = journal.keys()["B7"]
    outside = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    outside.execute("BEGIN")
    outside.execute("SELECT count(*) FROM entries").fetchone()

    sealer.forget("B7")
    assert write_all(journal, [Batch(forget=("B7",))]) == [None]
    assert writer.write(writer.event()) is None
    assert key in all_bytes(tmp_path), "the reader still holds the old pages"
    outside.execute("COMMIT")
    close_block(journal, sealer, "B7")
    assert key not in all_bytes(tmp_path)
    outside.close()
    journal.close()


def test_a_wipe_that_a_crash_interrupted_is_finished_by_the_next_start(tmp_path: Path) -> None:
    live, copy = tmp_path / "live", tmp_path / "copy"
    journal = opened(live)
    sealer = Sealer(live, {})
    assign(journal, sealer, "B7")
    key = journal.keys()["B7"]
    outside = sqlite3.connect(live / "journal.db", isolation_level=None)
    outside.execute("BEGIN")
    outside.execute("SELECT count(*) FROM entries").fetchone()
    assert write_all(journal, [Batch(forget=("B7",))]) == [None]
    copy.mkdir()
    for name in ("journal.db", "journal.db-wal", "journal.reserve"):
        (copy / name).write_bytes((live / name).read_bytes())
    outside.close()
    journal.close()

    assert key in all_bytes(copy)
    journal = opened(copy)
    assert journal.keys() == {}
    assert key not in all_bytes(copy)
    journal.close()


def test_wiping_reaches_the_copy_of_a_damaged_database(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    sealer = Sealer(tmp_path, {})
    assign(journal, sealer, "B7")
    key = journal.keys()["B7"]
    journal.close()
    path = tmp_path / "journal.db"
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])
    journal = opened(tmp_path)
    assert journal.keys() == {"B7": key}
    close_block(journal, sealer, "B7")
    journal.close()
    assert key not in all_bytes(tmp_path)


@given(content=st.binary(max_size=5000))
def test_any_bytes_can_be_sealed_and_neither_scope_nor_kind_may_be_taken_for_another(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sealer = Sealer(tmp_path_factory.getbasetemp(), {})
    sealed = sealer.scope("B7").seal_bytes(content)
    sealer.scope("B8")
    assert sealer.open_bytes("B7", sealed) == content
    with pytest.raises(SealError, match="a file of B8 cannot be opened: it is damaged or of another scope"):
        sealer.open_bytes("B8", sealed)
    token = "sealed:v1:" + base64.urlsafe_b64encode(sealed).decode()
    with pytest.raises(SealError, match="a secret of B7 cannot be opened"):
        sealer.open("B7", token)
    sealer.forget("B7")
    with pytest.raises(SealError, match="its key was wiped"):
        sealer.open_bytes("B7", sealed)
