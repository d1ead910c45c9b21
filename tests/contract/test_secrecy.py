"""Each text of a message says of itself what becomes of it, so that no new member can be forgotten."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

import pytest
from typing_extensions import TypedDict

from agent.uplink.inbox import SCOPES
from contract.members import Identifier, ShortText
from contract.models import DATA, PLANS, Block
from contract.secrecy import PERSONAL, PLAIN, SEALED, plan, texts


@pytest.mark.parametrize("type_", DATA)
def test_every_text_of_a_message_says_whether_it_is_sealed_or_personal_or_plain(type_: str) -> None:
    said = {text["path"]: text["secrecy"] for text in texts(DATA[type_])}
    assert said
    assert [path for path, secrecy in said.items() if secrecy is None] == []


class Door(TypedDict):
    door_id: Identifier
    bell: NotRequired[ShortText | None]
    colours: NotRequired[list[ShortText] | None]
    more: NotRequired[Any]
    name: NotRequired[Annotated[ShortText | None, PERSONAL]]


class Later(Block):
    doors: list[Door]


def test_a_new_member_that_does_not_say_it_is_noticed() -> None:
    found = [text["path"] for text in texts(Later) if text["secrecy"] is None]
    assert found == ["doors[].bell", "doors[].colours[]", "doors[].more"]
    assert plan(list[Door]) == [{"name": PERSONAL}]


def test_all_that_a_block_tells_about_people_and_doors_is_sealed() -> None:
    said = {text["path"]: text["secrecy"] for text in texts(Block) if text["secrecy"] is not PLAIN}
    assert said == {
        "otp_key": SEALED,
        "sites[].pickup_points[].code": SEALED,
        "sites[].pickup_points[].hours": PERSONAL,
        **dict.fromkeys(
            [f"stops[].address.{name}" for name in ("line1", "line2", "house_number", "city", "postal_code", "region")]
            + ["stops[].address.country", "stops[].recipient.name", "stops[].recipient.phone"],
            PERSONAL,
        ),
        "parcels[].instruction.text": PERSONAL,
        **dict.fromkeys(
            [f"parcels[].instruction.neighbour.{name}" for name in ("name", "house_number", "phone", "text")], PERSONAL
        ),
        "parcels[].instruction.access_codes[]": SEALED,
        "parcels[].instruction.preferences": PERSONAL,
    }


def test_whatever_is_to_be_sealed_has_a_key_and_what_is_personal_that_of_a_block() -> None:
    assert {*PLANS} == {*SCOPES}
    for type_, annotation in DATA.items():
        if any(text["secrecy"] is PERSONAL for text in texts(annotation)):
            assert SCOPES[type_]({"block_id": "roster"}) == "block/roster"
