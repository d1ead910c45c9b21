"""The contract as a program of somebody else reads it."""

from __future__ import annotations

import json

import pytest

from contract import schema


@pytest.mark.parametrize("name", schema.names())
def test_everything_has_a_schema_whose_references_resolve(name: str) -> None:
    told = schema.schema(name)
    assert told["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    text = json.dumps(told)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        assert reference.startswith("#/$defs/")
        assert reference.removeprefix("#/$defs/") in told["$defs"]


def test_the_settings_that_may_be_sent_are_those_of_the_sections_that_the_cloud_may_change() -> None:
    names = schema.schema("settings.changed")["properties"]["data"]["propertyNames"]
    assert names == {"pattern": r"^(delivery|route|gps|camera)\.[a-z0-9_]+$(?!\n)", "maxLength": 60}
