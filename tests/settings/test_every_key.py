"""No key of the settings goes without a range or a check: whoever adds one is told here what is missing."""

import json
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from agent.settings import ScannerSettings, Settings, on_disk, schema
from agent.settings.section import Section, empty_is_unset

DEFINITIONS = schema()["$defs"]


def sections() -> dict[str, type[Section]]:
    found: dict[str, type[Section]] = {
        name: typing.cast("type[Section]", field.annotation)
        for name, field in Settings.model_fields.items()
        if name != "scanner"
    }
    return found | {"scanner": ScannerSettings}


def keys() -> list[tuple[str, FieldInfo, Mapping[str, Any]]]:
    """Every key with its field and what the schema says of it."""
    return [
        (f"{section}.{key}", field, DEFINITIONS[model.__name__]["properties"][key])
        for section, model in sections().items()
        for key, field in model.model_fields.items()
    ]


def alternatives(described: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a key may be, without that it may be unset; of a list, what its members may be."""
    for each in described.get("anyOf", [described]):
        if each.get("type") == "array":
            yield each
            yield from alternatives(each["items"])
        elif each.get("type") != "null":
            yield each


def says_more(field: FieldInfo) -> bool:
    """Whether a text is looked at by more than its type, and than whether it is empty."""

    def checks(annotation: object) -> Iterator[object]:
        if typing.get_origin(annotation) is typing.Annotated:
            yield from typing.get_args(annotation)[1:]
        for each in typing.get_args(annotation):
            yield from checks(each)

    every = [*field.metadata, *checks(field.annotation)]
    return any(getattr(each, "func", None) is not empty_is_unset for each in every)


def names_a_path(annotation: object) -> bool:
    return annotation is Path or any(names_a_path(each) for each in typing.get_args(annotation))


@pytest.mark.parametrize(("key", "field", "described"), keys(), ids=[key for key, _, _ in keys()])
def test_a_number_has_both_ends_and_a_text_or_list_a_bound(
    key: str, field: FieldInfo, described: Mapping[str, Any]
) -> None:
    for each in alternatives(described):
        match each.get("type"):
            case "integer" | "number":
                assert {"minimum", "maximum"} <= set(each), f"{key}: give it a sensible range (ge and le)"
            case "array":
                assert "maxItems" in each, f"{key}: give it a largest number of members"
            case "string" if "enum" not in each and "const" not in each:
                assert says_more(field), f"{key}: say what it may be"


def test_every_key_that_names_a_file_is_opened_before_the_start() -> None:
    checked = {key for each in on_disk.CHECKS for key in each.split()}
    named = {key for key, field, _ in keys() if names_a_path(field.annotation)}
    # What may be set is opened once it is set.
    assert named - {"allowed.folders"} <= checked, "add what opens it to CHECKS in agent/settings/on_disk.py"
    assert checked <= {key for key, _, _ in keys()}


def test_every_file_that_is_kept_from_others_is_in_the_table_of_them() -> None:
    kept = {each.key for each in on_disk.KEPT}
    files = {key for key, field, _ in keys() if names_a_path(field.annotation)}
    assert files - {"allowed.folders", "route.tiles"} <= kept, "add a line to KEPT in agent/settings/on_disk.py"


def test_the_defaults_lie_within_the_ranges() -> None:
    assert Settings.model_validate(json.loads(Settings().model_dump_json())) == Settings()
