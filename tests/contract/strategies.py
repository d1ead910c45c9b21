"""Documents made out of the contract's own schemas, right ones and spoiled ones, for whoever has to bear both.

`conforming` draws what a schema allows; `spoiled` changes a member or two of a document; `unreadable` gives bytes that
not every reader understands alike.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from contract import schema as schemas

TIMES = st.datetimes().map(
    lambda moment: f"{max(moment.year, 1970) % 130 + 1970:04}" + moment.strftime("-%m-01T%H:%M:%SZ")
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ODD = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1e300,
        2**53 - 1,
        "",
        "+",
        "#",
        "/",
        "//",
        "/+/#",
        "../..",
        "\x00",
        "\x1b[2J",
        "\u202e",
        "9" * 20,
        "0" * 20,
        "x" * 5000,
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        [],
        {},
        [[[]]],
        {"": None},
        ["x"] * 300,
        {str(n): n for n in range(300)},
    ]
)
"""What a member of whatever kind is not expected to be."""


DIGITS = st.binary(min_size=32, max_size=32).map(bytes.hex)
QUICK = {
    "^[0-9a-f]{64}$": DIGITS,
    "^[0-9a-f]{8}-": DIGITS.map(lambda text: f"{text[:8]}-{text[8:12]}-7{text[12:15]}-8{text[15:18]}-{text[18:30]}"),
    "^0{5}[0-9]{15}$": st.integers(0, 10**15 - 1).map("{:020d}".format),
    "^[0-9]{1,20}$": st.integers(0, 10**20 - 1).map(str),
}
"""The beginning of an expression, and the texts that it allows, drawn a hundred times as quickly."""


def upward(name: str) -> st.SearchStrategy[Any]:
    """Something that a unit may send, by the name of its schema."""
    published = schemas.schema(name)
    return conforming(published, published.get("$defs", {}))


def conforming(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """What a schema allows, in the words of JSON Schema that pydantic uses."""
    match schema:
        case {"$ref": reference}:
            return conforming(definitions[reference.rpartition("/")[2]], definitions)
        case {"const": value}:
            return st.just(value)
        case {"enum": values}:
            return st.sampled_from(values)
        case {"anyOf": choices}:
            return st.one_of([conforming(choice, definitions) for choice in choices])
        case {"type": "object"}:
            return _object(schema, definitions)
        case {"type": "array"}:
            items = conforming(schema.get("items", {}), definitions)
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=min(4, schema.get("maxItems", 4)))
        case {"type": "string"}:
            return _text(schema)
        case {"type": "integer"}:
            return st.integers(schema.get("minimum", -1000), schema.get("maximum", 10**9))
        case {"type": "number"}:
            return st.floats(schema.get("minimum", -1e9), schema.get("maximum", 1e9))
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "null"}:
            return st.none()
    return JSON


def _object(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    required = schema.get("required", [])
    members = {name: conforming(each, definitions) for name, each in schema.get("properties", {}).items()}
    if not members:
        more = schema.get("additionalProperties", True)
        inner = conforming(more, definitions) if isinstance(more, dict) else JSON
        return st.dictionaries(st.text(min_size=1, max_size=12), inner, max_size=4)
    return st.fixed_dictionaries(
        {name: each for name, each in members.items() if name in required},
        optional={name: each for name, each in members.items() if name not in required},
    )


def _text(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 40)
    if schema.get("format") == "date-time":
        return TIMES
    pattern = str(schema.get("pattern", ""))
    for beginning, texts in QUICK.items():
        if pattern.startswith(beginning):
            return texts
    if pattern:
        texts = st.from_regex(pattern, fullmatch=True)
        return texts.filter(lambda text: shortest <= len(text) <= longest or "maxLength" not in schema).filter(
            lambda text: not text.endswith("\n")  # which Python's `$` allows, and JSON Schema's does not
        )
    return st.text(min_size=shortest, max_size=min(longest, 40))


@st.composite
def spoiled(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A document of which some members are away, odd, or more than there should be."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(_places(document) or [({"": 0}, "")]))
        match draw(st.sampled_from(["away", "odd", "random", "more"])):
            case "away":
                holder.pop(key)
            case "odd":
                holder[key] = copy.deepcopy(draw(ODD))
            case "random":
                holder[key] = draw(JSON)
            case "more" if isinstance(holder, dict):
                holder[draw(st.text(max_size=300))] = draw(JSON)
    return document


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Each place in a document: a holder, and a name or an index."""
    keys = [*node] if isinstance(node, dict) else [*range(len(node))] if isinstance(node, list) else []
    return [(node, key) for key in keys] + [place for key in keys for place in _places(node[key])]


def plainly(document: Any) -> bytes:
    """JSON as everybody writes it."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def unreadable(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> bytes:
    """The bytes of a document, in a way that not every reader understands alike."""
    document = draw(documents)
    text = plainly(document).decode("utf-8", "surrogatepass")
    head, tail = text[:-1], text[-1:]
    match draw(st.sampled_from(["encoding", "mark", "cut", "twice", "number", "depth", "character", "noise", "huge"])):
        case "encoding":
            return text.encode(draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-16-be"])), "surrogatepass")
        case "mark":
            return b"\xef\xbb\xbf" + plainly(document)
        case "cut":
            return plainly(document)[: draw(st.integers(0, max(0, len(text) - 1)))]
        case "twice":
            return f'{head},"twice":1,"twice":1{tail}'.encode("utf-8", "surrogatepass")
        case "number":
            number = draw(st.sampled_from(["NaN", "-Infinity", "1e999", "9007199254740993", "9" * 5000, "01", "+1"]))
            return f'{head},"number":{number}{tail}'.encode("utf-8", "surrogatepass")
        case "depth":
            levels = draw(st.sampled_from([100, 2000, 100_000]))
            return f'{head},"deep":{"[" * levels}{"]" * levels}{tail}'.encode("utf-8", "surrogatepass")
        case "character":
            return f'{head},"half":"\\ud800"{tail}'.encode("utf-8", "surrogatepass")
        case "huge":
            return f'{head},"huge":"{"x" * 600_000}"{tail}'.encode("utf-8", "surrogatepass")
    return draw(st.binary(max_size=200).filter(lambda noise: not noise.strip().startswith(b"{")))
