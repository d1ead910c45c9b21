"""What `./scripts/words check` finds in the catalogues of the driver's sentences."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from agent import words
from agent.words import sentences, terms, times

ROOT = Path(__file__).parents[2]


def tool() -> ModuleType:
    """The program behind `./scripts/words`, which is no package."""
    spec = importlib.util.spec_from_file_location("catalogues", ROOT / "scripts/lib/catalogues.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


catalogues = tool()
PATHS = sorted(catalogues.LOCALE.glob(f"*/{catalogues.FILE}"))


@pytest.fixture
def german(tmp_path: Path) -> Path:
    """A copy of the German catalogue, and what is compiled of it."""
    path = tmp_path / "de" / catalogues.FILE
    path.parent.mkdir(parents=True)
    for suffix in (".po", ".mo"):
        shutil.copy((catalogues.LOCALE / "de" / catalogues.FILE).with_suffix(suffix), path.with_suffix(suffix))
    return path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    path.with_suffix(".mo").write_bytes(catalogues.compiled(catalogues.read(path)))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parents[1].name)
def test_every_language_is_complete_and_says_nothing_more(path: Path) -> None:
    assert list(catalogues.faults(path)) == []


def test_what_the_catalogues_are_made_from_is_what_the_driver_can_be_told() -> None:
    phrases = [*sentences.FEEDBACK.values(), *sentences.PROMPTS.values(), *sentences.REFUSALS.values()]
    said = [one for phrase in phrases for one in (*phrase.text, *(phrase.speech or ()))]
    told = {((one.text, one.many) if one.many else one.text, None) for one in (*said, sentences.MORE, sentences.LISTED)}
    told |= {(one.text, None) for one in times.SENTENCES}
    told |= {(one.text, one.context) for one in (*terms.WEEKDAYS, *terms.MONTHS)}
    told |= {(one.text, one.context) for table in terms.TERMS.values() for one in table.values()}
    assert {(message.id, message.context) for message in catalogues.of_the_code() if message.id} == told


def test_every_language_that_is_kept_can_be_spoken() -> None:
    assert set(words.LANGUAGES) - {"en"} == {path.parents[1].name for path in PATHS}
    assert "de" in words.LANGUAGES


def test_a_sentence_that_is_missing_is_named(german: Path) -> None:
    edit(german, 'msgid "No block yet"\nmsgstr "Noch kein Block"\n', "")
    assert list(catalogues.faults(german)) == ["missing: 'No block yet'"]


def test_a_sentence_that_nobody_translated_is_named(german: Path) -> None:
    edit(german, 'msgstr "Noch kein Block"', 'msgstr ""')
    assert list(catalogues.faults(german)) == ["not translated: 'No block yet'"]


def test_a_plural_that_nobody_translated_is_named(german: Path) -> None:
    edit(german, 'msgstr[1] "{n} Pakete laden"', 'msgstr[1] ""')
    assert list(catalogues.faults(german)) == ["not translated: 'Load {n} parcel'"]


def test_a_translation_that_is_a_guess_is_named(german: Path) -> None:
    edit(german, 'msgid "No block yet"', '#, fuzzy\nmsgid "No block yet"')
    assert list(catalogues.faults(german)) == ["fuzzy: 'No block yet'"]


@pytest.mark.parametrize("mark", ["", "#~ "])
def test_a_sentence_that_nobody_says_any_more_is_named(german: Path, mark: str) -> None:
    edit(german, 'msgid "No block yet"', f'{mark}msgid "Old"\n{mark}msgstr "Alt"\n\nmsgid "No block yet"')
    assert list(catalogues.faults(german)) == ["nobody says it: 'Old'"]


@pytest.mark.parametrize("wrong", ["{loaded} von {erwartet} geladen. Laden abschließen", "Laden abschließen"])
def test_a_translation_with_other_params_is_named(german: Path, wrong: str) -> None:
    edit(german, "{loaded} von {expected} geladen. Laden abschließen", wrong)
    assert list(catalogues.faults(german)) == [
        f"other params than '{{loaded}} of {{expected}} loaded. Close loading': {wrong}"
    ]


def test_a_translation_that_was_not_compiled_is_named(german: Path) -> None:
    before = german.with_suffix(".mo").read_bytes()
    edit(german, "Noch kein Block", "Kein Block")
    german.with_suffix(".mo").write_bytes(before)
    assert list(catalogues.faults(german)) == ["words.mo is not what ./scripts/words compiles of words.po"]
    german.with_suffix(".mo").unlink()
    assert list(catalogues.faults(german)) == ["words.mo is not what ./scripts/words compiles of words.po"]


def test_an_update_changes_nothing_where_nothing_changed(german: Path) -> None:
    before = [german.with_suffix(suffix).read_bytes() for suffix in (".po", ".mo")]
    catalogues.update(german)
    assert [german.with_suffix(suffix).read_bytes() for suffix in (".po", ".mo")] == before


def test_an_update_brings_what_is_missing_and_drops_what_nobody_says(german: Path) -> None:
    edit(german, 'msgid "No block yet"\nmsgstr "Noch kein Block"\n', 'msgid "Old"\nmsgstr "Alt"\n')
    catalogues.update(german)
    assert list(catalogues.faults(german)) == ["not translated: 'No block yet'"]


def test_a_language_can_be_begun(tmp_path: Path) -> None:
    path = tmp_path / "fr" / catalogues.FILE
    catalogues.write(path, catalogues.begun("fr"))
    catalogues.update(path)
    assert "Plural-Forms: nplurals=" in path.read_text()
    assert {fault.partition(":")[0] for fault in catalogues.faults(path)} == {"not translated"}
