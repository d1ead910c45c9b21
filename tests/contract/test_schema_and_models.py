"""The published schema and the models say the same of every message, whichever of them somebody believes.

An independent reader of JSON Schema judges documents that are right, nearly right and wrong, formats included.
"""

from __future__ import annotations

import calendar
import copy
import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from contract import models, schema
from contract.faults import Fault
from contract.topics import full_type
from tests.contract.examples import EXAMPLES, KEY

formats = FormatChecker(())


@formats.checks("date-time")
def is_rfc3339(value: object) -> bool:
    """The grammar of RFC 3339 §5.6, where ``T`` and ``Z`` may be small and a second may be the 60th."""
    if not isinstance(value, str):
        return True
    found = re.fullmatch(
        r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|[+-](\d\d):(\d\d))", value, re.ASCII
    )
    if found is None:
        return False
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    offset_hour, offset_minute = int(found[9] or 0), int(found[10] or 0)
    in_the_day = hour < 24 and minute < 60 and second < 61 and offset_hour < 24 and offset_minute < 60
    return bool(year) and 0 < month < 13 and 0 < day <= calendar.monthrange(year, month)[1] and in_the_day


@cache
def validator(type_: str) -> Draft202012Validator:
    published = schema.schema(type_)
    Draft202012Validator.check_schema(published)
    return Draft202012Validator(published, format_checker=formats)


def message(type_: str) -> dict[str, Any]:
    data = copy.deepcopy(EXAMPLES[type_][1])
    return {"specversion": "1.0", "id": "M-1", "source": "/dispatch", "type": full_type(type_), "data": data}


def by_the_models(type_: str, document: Any) -> list[Fault]:
    """The faults of the members; what refers to what is said nowhere in a schema."""
    if not isinstance(document, dict):
        return [Fault("", "expected an object")]
    found = models.envelope_faults(document)
    if document.get("type") != full_type(type_):
        found.append(Fault("type", "of another message"))
    data = document.get("data")
    if type_ in {"settings.changed", "command.requested"}:  # whose schema says all of it, but for one order
        return found + [fault for fault in models.faults(type_, data) if "below from_sequence" not in fault.expected]
    return found + models.model_faults(models.MODELS[type_], data)


def agree(type_: str, document: Any) -> bool:
    """Whether the document is right; both must say the same."""
    by_the_schema = [error.message[:200] for error in validator(type_).iter_errors(document)]
    found = by_the_models(type_, document)
    assert bool(found) == bool(by_the_schema), f"models: {found[:3]}; schema: {by_the_schema[:3]}"
    return not found


@pytest.mark.parametrize("type_", EXAMPLES)
def test_the_schema_of_every_message_takes_its_example(type_: str) -> None:
    assert agree(type_, message(type_))


TEXTS = st.sampled_from(
    [
        "",
        "x",
        "\u00a0",
        "B\u00a07",
        " B7 ",
        "a\nb",
        "EUR\n",
        "1\n",
        "a\x7f",
        "a\u0085b",
        "a\u2028b",
        "\U0001f4e6" * 128,
        "\U0001f4e6" * 129,
        "x" * 200,
        "x" * 201,
        "x" * 500,
        "x" * 501,
        "x" * 4000,
        "x" * 4001,
        KEY,
        KEY + "=",
        KEY[:-1] + "+",
        "a" * 64,
        "A" * 64,
        "0" * 64 + "\n",
        "-12.5",
        "1.",
        "٣",
        "NL",
        "nl",
        "front_door",
        "00000000000000000042",
        "9" * 12,
        "9" * 13,
        "9" * 20,
        "1.0",
        "replay",
        "high_water",
        "media_send",
    ]
)
TIMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(
            [
                "1969-12-31",
                "1970-01-01",
                "1970-01-02",
                "2026-02-29",
                "2026-11-21",
                "2100-12-31",
                "2101-01-01",
                "0001-01-01",
                "9999-12-31",
                "20261121",
                "2026-W47-6",
                "2024-02-29",
                "\u0662\u0660\u0662\u0666-11-21",
                "2026-13-01",
            ]
        ),
        st.sampled_from(["T", "t", " ", ""]),
        st.sampled_from(["00:00:00", "23:59:59", "23:59:60", "24:00:00", "09:00", "090000", "09:00:61"]),
        st.sampled_from(["", ".5", ".123456789", ",5", "."]),
        st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:30", "-08:00", "+0530", "+05:30:15", "+24:00", "", "Z\n"]),
    ),
)
NUMBERS = st.sampled_from(
    [
        0,
        -0.0,
        1,
        1.0,
        -1,
        0.5,
        4,
        900.0,
        900.5,
        120,
        121.0,
        90,
        90.0,
        90.1,
        -180.0,
        1e6,
        1e7,
        10_000_001,
        1e20,
        2**53,
        10**12 - 1,
        1e12,
    ]
)
VALUES = (
    st.none() | st.booleans() | NUMBERS | TEXTS | TIMES | st.sampled_from([[], {}, [None], [[]], {"a": 1}, {"text": 7}])
)
NESTED = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """Each place in a document: a holder, and a name or an index."""
    keys = [*node] if isinstance(node, dict) else [*range(len(node))] if isinstance(node, list) else []
    return [(node, key) for key in keys] + [place for key in keys for place in places(node[key])]


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A message of the contract with some of its members changed, taken away or added."""
    type_ = draw(st.sampled_from([*EXAMPLES]))
    document = message(type_)
    document["time"] = "2026-11-21T08:00:00Z"
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(places(document)))
        match draw(st.integers(0, 9)):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[draw(TEXTS | st.text(max_size=8))] = copy.deepcopy(draw(NESTED))
            case 2 if isinstance(holder, list):
                holder += [copy.deepcopy(holder[key])] * draw(st.sampled_from([1, 19, 20, 99, 100]))
            case 3:
                holder[key] = copy.deepcopy(draw(NESTED))
            case 4 if isinstance(holder[key], str):
                holder[key] = draw(TIMES)
            case _:
                holder[key] = copy.deepcopy(draw(VALUES))
    return type_, document


@given(mutated())
def test_what_the_schema_allows_is_taken_and_what_it_forbids_is_not(given_: tuple[str, dict[str, Any]]) -> None:
    agree(*given_)


def generated(node: Any, definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Documents of a published schema, near its bounds and a little beyond."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        return NESTED if name == "Json" else generated(definitions[name], definitions)
    if "anyOf" in node:
        return st.one_of([generated(each, definitions) for each in node["anyOf"]])
    if "const" in node or "enum" in node:
        return st.sampled_from(node.get("enum", [node.get("const")]))
    match node.get("type"):
        case "object" if "properties" in node:
            of = {name: generated(each, definitions) for name, each in node["properties"].items()}
            required = {*node.get("required", ())}
            return st.fixed_dictionaries(
                {name: each for name, each in of.items() if name in required},
                optional={name: each for name, each in of.items() if name not in required},
            )
        case "object":
            names = st.sampled_from(["gps.gpsd", "camera.source", "delivery.x1", "unit.id", "gps.", "gps." + "x" * 57])
            return st.dictionaries(names, generated(node["additionalProperties"], definitions), max_size=3)
        case "array":
            return st.lists(generated(node["items"], definitions), max_size=2)
        case "string" if "format" in node:
            return st.just("2026-11-21T08:00:00Z") | TIMES
        case "string" if "pattern" in node:
            return st.sampled_from(["1", "7.25", KEY, "a" * 64, "EUR", "NL", "gps.x", "B7"]) | TEXTS
        case "string":
            return st.text(max_size=5) | TEXTS
        case "boolean":
            return st.booleans()
    low, high = node.get("minimum", -5), node.get("maximum", 5)
    return st.sampled_from([low, high, float(low), float(high), low - 1, high + 1]) | st.integers(low, high)


@cache
def documents(type_: str) -> st.SearchStrategy[Any]:
    published = schema.schema(type_)
    return generated(published, published["$defs"])


@given(st.data(), st.sampled_from([*EXAMPLES]))
def test_documents_of_the_schema_are_taken_and_those_beyond_its_bounds_are_not(data: st.DataObject, type_: str) -> None:
    agree(type_, data.draw(documents(type_)))


def of_a_block(**changes: Any) -> dict[str, Any]:
    document = message("block.assigned")
    document["data"] |= changes
    return document


def test_a_whole_number_may_be_written_with_a_point_and_is_a_whole_number_afterwards() -> None:
    document = of_a_block(manifest_version=1.0)
    document["data"]["parcels"][0]["weight_g"] = 900.0
    assert agree("block.assigned", document)
    data = models.read("block.assigned", document["data"])
    assert repr([data["manifest_version"], data["parcels"][0]["weight_g"]]) == "[1, 900]"
    document["data"]["parcels"][0]["weight_g"] = 900.5
    assert not agree("block.assigned", document)


@pytest.mark.parametrize(
    "time", ["2026-11-21t09:00:00z", "2016-12-31T23:59:60Z", "2016-12-31T15:59:60.5-08:00", "2026-11-21T09:00:00-00:00"]
)
def test_every_way_in_which_rfc_3339_writes_a_time_is_taken(time: str) -> None:
    assert agree("block.assigned", of_a_block(starts_at=time, ends_at="2027-01-01T00:00:00Z"))


@pytest.mark.parametrize("text", ["B\u00a07", "\u2007B7", "\u00e9\u4e16\U0001f4e6", " "])
def test_an_id_may_have_any_characters_that_are_no_control_characters(text: str) -> None:
    document = of_a_block(block_id=text)
    document["id"] = text
    assert agree("block.assigned", document)


TIME_MEMBERS = [
    ("", "time"),
    *[
        (type_, path)
        for type_, paths in {
            "offer.made": ("starts_at", "ends_at", "expires_at"),
            "block.assigned": ("starts_at", "ends_at", "stops[1].window.from", "stops[1].window.to"),
            "block.revised": ("starts_at", "ends_at", "stops[1].window.from", "stops[1].window.to"),
            "advisory.issued": ("valid_from", "valid_to"),
        }.items()
        for path in paths
    ],
]


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2101-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "2100-12-31T23:59:59-00:01",
    ],
)
@pytest.mark.parametrize(("type_", "path"), TIME_MEMBERS)
def test_a_time_outside_of_1970_to_2100_is_refused_by_its_name(type_: str, path: str, time: str) -> None:
    document = message(type_ or "message.sent")
    holder: Any = document["data"] if type_ else document
    if "stops[1].window." in path:
        holder = holder["stops"][1]["window"]
    holder[path.rpartition(".")[2]] = time
    assert not agree(type_ or "message.sent", document)
    found = models.faults(type_, document["data"]) if type_ else models.envelope_faults(document)
    assert [str(fault) for fault in found] == [f"{path}: expected a time in the years 1970 to 2100"]


def test_every_time_of_the_schemas_is_among_those() -> None:
    def paths(node: Any, definitions: dict[str, Any], at: str) -> list[str]:
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            return [] if name == "Json" else paths(definitions[name], definitions, at)
        found = [at] if node.get("format") == "date-time" else []
        for each in node.get("anyOf", ()):
            found += paths(each, definitions, at)
        for name, each in node.get("properties", {}).items():
            found += paths(each, definitions, f"{at}.{name}".removeprefix("."))
        if "items" in node:
            found += paths(node["items"], definitions, f"{at}[]")
        return found

    for type_ in EXAMPLES:
        published = schema.schema(type_)
        found = paths(published["properties"]["data"], published["$defs"], "")
        assert found == [path.replace("[1]", "[]") for known, path in TIME_MEMBERS if known == type_]


def test_every_text_list_and_map_of_a_schema_has_a_bound() -> None:
    def without(node: Any, at: str) -> list[str]:
        if isinstance(node, list):
            return [path for index, each in enumerate(node) for path in without(each, f"{at}[{index}]")]
        if not isinstance(node, dict):
            return []
        kinds = [node["type"]] if isinstance(node.get("type"), str) else node.get("type") or []
        bound = {"string": "maxLength", "array": "maxItems", "object": "maxProperties"}
        is_closed = "const" in node or "enum" in node or "properties" in node
        found = [at for kind in kinds if kind in bound and not is_closed and bound[kind] not in node]
        return found + [path for name, each in node.items() for path in without(each, f"{at}.{name}")]

    for type_ in EXAMPLES:
        assert without(schema.schema(type_), type_) == []


@example("settings.changed", {"gps.gpsd": "x\ny"})
@given(st.sampled_from([*EXAMPLES]), st.dictionaries(st.text(max_size=80), NESTED, max_size=3))
def test_no_fault_repeats_what_the_sender_wrote(type_: str, more: dict[str, Any]) -> None:
    secret = "hunter2 \u0007 \u2028"
    data = {**EXAMPLES[type_][1], **more, secret: secret}
    for name in EXAMPLES[type_][1]:
        found = models.faults(type_, {**data, name: [secret]}) + models.faults(type_, {**data, name: {secret: secret}})
        assert not any("hunter2" in str(fault) for fault in found)
        assert all(json.dumps(str(fault)).isascii() for fault in found)
