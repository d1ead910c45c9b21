#!/usr/bin/env python3
"""The catalogues of the driver's sentences, kept up with the code by Babel; `./scripts/words` runs this."""

from __future__ import annotations

import argparse
import copy
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po

WORDS = Path(__file__).resolve().parents[2] / "agent/words"
LOCALE = WORDS / "locale"
FILE = "LC_MESSAGES/words.po"
KEYWORDS = {"say": None, "count": (2, 3), "term": ((1, "c"), 2)}
"""The functions that mark a sentence, and which of their arguments are its forms and its context."""
PARAM = re.compile(r"\{\w+\}")


def of_the_code() -> Catalog:
    """Every sentence in the order of the code, in English."""
    found = Catalog(charset="utf-8")
    for _file, _line, message, comments, context in extract_from_dir(
        WORDS, keywords=KEYWORDS, comment_tags=("Translators:",), strip_comment_tags=True
    ):
        found.add(message, auto_comments=comments, context=context)
    return found


def begun(language: str) -> Catalog:
    """The catalogue of a language that has no sentence yet."""
    header = f"# Sentences for the driver of a Kerbside unit, in {language}."
    return Catalog(language, header_comment=header, project="kerbside", version="1", charset="utf-8", fuzzy=False)


def read(path: Path) -> Catalog:
    """A language's catalogue."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parents[1].name)


def compiled(catalogue: Catalog) -> bytes:
    """What the agent reads of it: a sentence without a translation is left out, and is shown in English."""
    whole = copy.deepcopy(catalogue)
    for message in catalogue:
        if message.id and not all(in_forms(message.string or "")):
            whole.delete(message.id, message.context)
    into = io.BytesIO()
    write_mo(into, whole)
    return into.getvalue()


def update(path: Path) -> None:
    """Bring a language up to the code and compile what is translated."""
    catalogue = read(path)
    before = {(message.id, message.context) for message in catalogue}
    catalogue.update(of_the_code(), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    if {(message.id, message.context) for message in catalogue} != before:
        print(f"{path}: sentences came or went; see what is empty")
    write(path, catalogue)


def write(path: Path, catalogue: Catalog) -> None:
    """The catalogue and what is compiled of it."""
    catalogue.msgid_bugs_address = catalogue.last_translator = catalogue.language_team = ""
    catalogue.revision_date = catalogue.creation_date
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(file, catalogue, width=120, no_location=True)
    path.with_suffix(".mo").write_bytes(compiled(catalogue))


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a language, by the sentence."""
    catalogue, wanted = read(path), of_the_code()
    for message in wanted:
        if message.id and catalogue.get(message.id, message.context) is None:
            yield f"missing: {told(message)}"
    for message in catalogue:
        if not message.id:
            continue
        ids, forms = in_forms(message.id), in_forms(message.string or "")
        if wanted.get(message.id, message.context) is None:
            yield f"nobody says it: {told(message)}"
        elif not all(forms) or (message.pluralizable and len(forms) != catalogue.num_plurals):
            yield f"not translated: {told(message)}"
        elif message.fuzzy:
            yield f"fuzzy: {told(message)}"
        else:
            params = {name for form in ids for name in PARAM.findall(form)}
            for form in forms:
                if set(PARAM.findall(form)) != params:
                    yield f"other params than {told(message)}: {form}"
    for message in catalogue.obsolete.values():
        yield f"nobody says it: {told(message)}"
    binary = path.with_suffix(".mo")
    if not binary.exists() or said(binary.read_bytes()) != said(compiled(catalogue)):
        yield f"{binary.name} is not what ./scripts/words compiles of {path.name}"


def said(binary: bytes) -> list[tuple[object, ...]]:
    """The sentences of a compiled catalogue, whatever version of Babel wrote its header."""
    return [(message.id, message.context, message.string) for message in read_mo(io.BytesIO(binary)) if message.id]


def in_forms(text: str | Sequence[str]) -> tuple[str, ...]:
    """A sentence, or the forms of one that counts."""
    return (text,) if isinstance(text, str) else tuple(text)


def told(message: Message) -> str:
    """A sentence as a finding names it."""
    text = in_forms(message.id)[0]
    return f"{text!r} ({message.context})" if message.context else repr(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./scripts/words", description=__doc__)
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("check", help="only look, and say what is wrong")
    verbs.add_parser("add", help="begin a language").add_argument("language")
    given = parser.parse_args()
    paths = sorted(LOCALE.glob(f"*/{FILE}"))
    if given.verb == "check":
        found = [f"{path.parents[1].name}: {fault}" for path in paths for fault in faults(path)]
        print("\n".join(found) or f"{len(of_the_code()) - 1} sentences, {len(paths)} languages beside English")
        return 1 if found else 0
    if given.verb == "add":
        path = LOCALE / given.language / FILE
        if path.exists():
            parser.error(f"{path} is there")
        write(path, begun(given.language))
        paths.append(path)
    for path in paths:
        update(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
