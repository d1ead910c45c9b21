"""The names on the wire are those of the contract."""

from __future__ import annotations

import pytest

from contract.topics import Topics, full_type, short_type


def test_a_unit_has_the_topics_that_are_promised() -> None:
    topics = Topics("kerbside", "demo", "u1")
    assert topics.status == "kerbside/demo/u1/status"
    assert topics.replies == "kerbside/demo/u1/replies"
    assert topics.event("parcel.delivered") == "kerbside/demo/u1/events/parcel/delivered"
    assert topics.telemetry("position") == "kerbside/demo/u1/telemetry/position"
    assert Topics.of_source("kerbside", "/demo/u1").status == topics.status
    assert topics.inbox("block") == "kerbside/demo/u1/inbox/block"
    assert topics.media_part("ab", 0) == "kerbside/demo/u1/media/ab/0"
    assert topics.media_manifest("ab") == "kerbside/demo/u1/media/ab/manifest"


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("kerbside/demo/u1/inbox/block", "block"),
        ("kerbside/demo/u1/inbox/block/more", None),
        ("kerbside/demo/u2/inbox/block", None),
        ("kerbside/demo/u1/status", None),
    ],
)
def test_only_the_units_own_inbox_is_an_inbox(topic: str, kind: str | None) -> None:
    assert Topics("kerbside", "demo", "u1").inbox_kind(topic) == kind


@pytest.mark.parametrize("type_", ["parcel.delivered", "org.other.parcel.delivered", "org.kerbside.parcel", ""])
def test_a_type_that_is_not_ours_is_not_mistaken_for_one(type_: str) -> None:
    assert full_type(short_type(type_)) != type_
    assert short_type(full_type("parcel.delivered")) == "parcel.delivered"
