"""What blocks, roster, dispatch and the cloud's settings tell: in no byte of the disk, and gone when the block ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.delivery.fold.snapshot import dump
from agent.delivery.model.inputs import InboxMessage
from agent.delivery.model.scopes import scope_of_block
from agent.identity.seal import Sealer
from agent.journal.database import SCOPE
from agent.uplink.inbox import InboxReader, Token
from contract.models import DATA
from contract.secrecy import PLAIN, texts
from tests.contract.examples import EXAMPLES, message
from tests.identity.test_seal import all_bytes
from tests.journal.writing import opened
from tests.running_unit import RunningUnit


def marked(type_: str) -> tuple[dict[str, Any], list[str]]:
    """The example of a message with every member of its model that is not plain, and an unknown one, in each object."""
    secrets: list[str] = []

    def word(path: str) -> str:
        secrets.append(f"Wilhelmina-{len(secrets)}-{path.rpartition('.')[2].strip('[]')}")
        return secrets[-1]

    data = json.loads(json.dumps(EXAMPLES[type_][1]))
    for text in texts(DATA[type_]):
        path = text["path"]
        if text["secrecy"] is PLAIN or path in {"otp_key", "key", "stops[].address.country", "*"}:
            continue
        for holder, name in _places(data, path.split(".")):
            holder[name] = [word(path)] if path.endswith("[]") else word(path)
    for node in _objects(data):
        node["later"] = word("later")
    return data, secrets


def _places(node: Any, way: list[str]) -> list[tuple[Any, str]]:
    name, *rest = way
    bare = name.removesuffix("[]")
    if not rest:
        return [(node, bare)]
    if name.endswith("[]"):
        return [place for each in node.get(bare) or () for place in _places(each, rest)]
    if not isinstance(node.get(bare), dict):
        node[bare] = {}
    return _places(node[bare], rest)


def _objects(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for each in node for found in _objects(each)]
    return [node, *_objects([*node.values()])] if isinstance(node, dict) else []


@pytest.mark.parametrize(
    "type_", ["block.assigned", "block.revised", "roster.replaced", "message.sent", "feedback.given"]
)
def test_whatever_the_model_does_not_call_plain_is_in_no_byte_of_what_is_stored(type_: str, tmp_path: Path) -> None:
    data, secrets = marked(type_)
    assert secrets
    sealer = Sealer(tmp_path, {})
    incoming = InboxReader(sealer).read(EXAMPLES[type_][0], message(type_, data), Token(1, 1))
    assert isinstance(incoming.message, InboxMessage), incoming.message
    text = incoming.body.decode() + repr(incoming) + repr(vars(incoming.message))
    assert [secret for secret in secrets if secret in text] == []
    opened_again = json.dumps(sealer.opened(next(iter(incoming.keys)), json.loads(incoming.body)))
    assert [secret for secret in secrets if secret not in opened_again and not secret.endswith("later")] == []


def in_the_future(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"starts_at": "2099-11-21T09:00:00Z", "ends_at": "2099-11-21T13:00:00Z"}


def test_nothing_that_a_block_told_can_be_read_once_it_has_ended(tmp_path: Path) -> None:
    data, secrets = marked("block.assigned")
    tokens: list[str] = []

    async def run() -> None:
        running = RunningUnit(tmp_path)
        await running.take("block.assigned", in_the_future(data))
        running.unit.snapshot()
        await running.unit.settle()
        scope = scope_of_block("B7")
        tokens.extend(sealed([bodies(running), json.loads(dump(running.unit.state))]))
        assert all(running.sealer.opened(scope, token) is not None for token in tokens)
        await running.take("block.cancelled", {"block_id": "B7"})
        await running.wiped()
        assert running.unit.state.blocks == {} or running.unit.state.blocks["B7"].ended
        assert [running.sealer.opened(scope, token) for token in tokens] == [None] * len(tokens)
        running.journal.close()

    asyncio.run(run())
    assert len(tokens) > 5
    content = all_bytes(tmp_path).decode("latin-1")
    assert [secret for secret in secrets if secret in content] == []
    journal = opened(tmp_path)
    assert journal.keys() == {}
    journal.close()


def bodies(running: RunningUnit) -> list[Any]:
    return [
        json.loads(entry.body) for entry in running.journal.replay(from_start=True).entries if hasattr(entry, "body")
    ]


def sealed(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node] if node.startswith("sealed:") else []
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [token for each in inner for token in sealed(each)]


def test_the_password_of_a_camera_that_the_cloud_sets_is_in_no_byte_of_the_journal(tmp_path: Path) -> None:
    async def run() -> None:
        running = RunningUnit(tmp_path)
        await running.take("settings.changed", {"camera.source": "rtsp://u:hunter2@127.0.0.9/", "camera.fps": 5})
        running.unit.snapshot()
        await running.unit.settle()
        settings = running.unit.state.settings
        assert settings["camera.fps"] == 5
        assert running.reader.settings(settings)["camera.source"] == "rtsp://u:hunter2@127.0.0.9/"
        running.journal.close()

    asyncio.run(run())
    assert b"hunter2" not in all_bytes(tmp_path)


def test_a_block_with_the_id_roster_takes_no_key_but_its_own_with_it(tmp_path: Path) -> None:
    async def run() -> None:
        running = RunningUnit(tmp_path)
        await running.take("roster.replaced", EXAMPLES["roster.replaced"][1])
        await running.take("block.assigned", in_the_future(EXAMPLES["block.assigned"][1] | {"block_id": "roster"}))
        assert {*running.journal.keys()} == {"roster", "block/roster"}
        await running.take("block.cancelled", {"block_id": "roster"})
        assert {*running.journal.keys()} == {"roster"}
        roster = running.unit.state.roster
        assert roster is not None
        assert running.sealer.open("roster", str(roster.key)) == EXAMPLES["roster.replaced"][1]["key"]
        assert running.sealer.opened("roster", roster.drivers[0].name) == "one"
        running.journal.close()

    asyncio.run(run())


@pytest.mark.parametrize("id_", ["B7", "block/B7", "scope/roster"])
def test_keys_that_an_earlier_version_wrote_go_on_under_their_scopes(tmp_path: Path, id_: str) -> None:
    earlier = Sealer(tmp_path, {})
    block, roster = earlier.scope(scope_of_block(id_)), earlier.scope("roster")
    token, key = block.seal("#4711"), roster.seal("key")
    journal = opened(tmp_path)
    journal._call(lambda: journal._items.put(f"key/{id_}", block.keys[block.name]))
    journal._call(lambda: journal._items.put("key/roster", roster.keys["roster"]))
    journal.close()

    for _ in range(2):
        journal = opened(tmp_path)
        assert {*journal.keys()} == {scope_of_block(id_), "roster"}
        sealer = Sealer(tmp_path, journal.keys())
        assert (sealer.open(scope_of_block(id_), token), sealer.open("roster", key)) == ("#4711", "key")
        journal.close()
    assert (SCOPE + "roster").encode() in all_bytes(tmp_path)


def test_a_name_that_is_shown_again_and_again_is_remembered_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.identity.seal.MOST_OPENED", 10)
    sealer = Sealer(tmp_path, {})
    scope = sealer.scope("messages")
    for number in range(100):
        assert sealer.open("messages", scope.seal({"n": number})) == {"n": number}
    assert len(scope._opened) <= 10
