"""What becomes of the key strokes of a scanner that types, on every layout and however it types."""

from __future__ import annotations

import ctypes
import random
import unicodedata
from collections.abc import Iterable, Iterator

import pytest
from hid_devices import (
    ALT,
    ALTGR,
    CAPS,
    CTRL,
    ENTER,
    KEYPAD,
    KEYPAD_ENTER,
    SHIFT,
    SPACE,
    TAB,
    by_number,
    event,
    press,
    release,
    stroke,
    strokes,
)
from hypothesis import given
from hypothesis import strategies as st

from drivers.scanner.code import Code, bare
from drivers.scanner.keyboard import (
    _KEYS,
    EV_KEY,
    EV_SYN,
    EVENT,
    PARTIAL_AFTER_MS,
    SYN_DROPPED,
    SYN_REPORT,
    KeyboardFramer,
    Layout,
)

LAYOUTS: list[Layout] = ["us", "de", "fr", "uk"]
GS = "\x1d"
OTHER = {SHIFT: 54, CTRL: 97}
DEAD = {"\u0302": "^", "\u0301": "\xb4", "\u0300": "`", "\u0308": "\xa8", "\u0303": "~"}
SILENCE_NS = PARTIAL_AFTER_MS * 1_000_000


class Typist:
    """A scanner that types: every character in one of the ways that its layout has, chosen by `choose`."""

    def __init__(self, layout: Layout, choose: random.Random) -> None:
        self.choose = choose
        self.caps_lock = False
        self.late: list[int] = []
        self.ways: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
        for key, levels in _KEYS[layout].items():
            for char, modifiers in zip(levels, ((), (SHIFT,), (ALTGR,)), strict=False):
                if char != " " or key == SPACE:
                    self.ways.setdefault(char, []).append((key, modifiers))
        self.letters = {key for key, (plain, shifted, *_) in _KEYS[layout].items() if plain != shifted == plain.upper()}
        self.typable = sorted({DEAD.get(char, char) for char in self.ways} | {GS, "\x1e", "\x04"})

    def type(self, text: str) -> bytes:
        data = b"".join(map(self._character, text)) + self._lift()
        if self.caps_lock:
            data += self._toggle()
        return data

    def _character(self, char: str) -> bytes:
        data = self._toggle() if self.choose.random() < 0.1 else b""
        ways = list(self.ways.get(char, []))
        dead = next((key for key, spacing in DEAD.items() if spacing == char), "")
        ways += [(key, (*modifiers, -1)) for key, modifiers in self.ways.get(dead, [])]
        if not ways or self.choose.random() < 0.05:
            return data + self._lift() + self._number(char)
        key, modifiers = self.choose.choice(ways)
        if -1 in modifiers:
            return data + self._stroke(key, modifiers[:-1]) + self._stroke(SPACE, ())
        return data + self._stroke(key, modifiers)

    def _number(self, char: str) -> bytes:
        number = ord(char)
        if char < " " and self.choose.random() < 0.5:
            # Ctrl with the key at the place of ] (GS), 6 (RS) or the letter D (EOT) of every layout.
            return self._stroke({GS: 27, "\x1e": 7, "\x04": 32}[char], (CTRL,)) + self._lift()
        if number >= 0x80:
            number = char.encode("cp1252")[0]
        return by_number("0" + str(number) if number >= 0x80 else str(number).zfill(self.choose.choice([1, 3, 4])))

    def _stroke(self, key: int, modifiers: tuple[int, ...]) -> bytes:
        held = [OTHER.get(each, each) if self.choose.random() < 0.3 else each for each in modifiers]
        if self.caps_lock and key in self.letters and ALTGR not in modifiers and CTRL not in modifiers:
            held = [] if held else [SHIFT]
        if held == [ALTGR] and self.choose.random() < 0.2:
            held = [CTRL, ALT]
        self.choose.shuffle(held)
        repeats = event(EV_KEY, key, 2) * self.choose.choice([0, 0, 0, 2])
        data = press(*held, key) + repeats
        # A key may go up before its modifiers, after them, or only when the next ones are down.
        if held and self.choose.random() < 0.5:
            data += release(*held)
            self.late.append(key)
        else:
            data += release(key) + release(*held)
        return data + (self._lift() if self.choose.random() < 0.6 else b"")

    def _lift(self) -> bytes:
        keys, self.late = self.late, []
        return release(*keys)

    def _toggle(self) -> bytes:
        self.caps_lock = not self.caps_lock
        return stroke(CAPS)


def chunks(data: bytes, choose: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = choose.choice([1, 7, 24, 48, 72, 1536, 4096])
        yield data[at : at + size]
        at += size


@given(st.sampled_from(LAYOUTS), st.randoms(use_true_random=False), st.integers(1, 60))
def test_whatever_a_scanner_types_on_a_layout_is_read_as_it_was(
    layout: Layout, choose: random.Random, length: int
) -> None:
    typist = Typist(layout, choose)
    texts = ["".join(choose.choices(typist.typable, k=length)).replace("\t", "") for _ in range(3)]
    framer = KeyboardFramer(layout)
    data = b"".join(typist.type(text) + stroke(choose.choice([ENTER, TAB, KEYPAD_ENTER])) for text in texts)
    codes = [code for chunk in chunks(data, choose) for code in framer.feed(chunk)]
    assert codes == [Code.of(bare(text)) for text in texts if bare(text)]
    assert framer.counters.dropped == 0


@pytest.mark.parametrize(
    ("layout", "bracket"),
    [("us", stroke(27)), ("uk", stroke(27)), ("de", stroke(10, ALTGR)), ("fr", stroke(12, ALTGR))],
)
def test_the_symbology_identifier_is_found_wherever_the_layout_has_its_bracket(layout: Layout, bracket: bytes) -> None:
    one = stroke(2, SHIFT) if layout == "fr" else stroke(2)
    typed = bracket + stroke(46, SHIFT) + one + one + one + stroke(ENTER)
    assert KeyboardFramer(layout).feed(typed) == [Code("11", "]C1", "Code 128")]


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("Alt+29", by_number("29")),
        ("Alt+029", by_number("029")),
        ("Alt+0029", by_number("0029")),
        ("right Alt+029", by_number("029", ALTGR)),
        ("Ctrl+]", stroke(27, CTRL)),
        ("right Ctrl+]", stroke(27, 97)),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_group_separator_is_kept_however_it_is_typed(layout: Layout, what: str, data: bytes) -> None:
    a_and_b = {"us": (30, 48), "uk": (30, 48), "de": (30, 48), "fr": (16, 48)}[layout]
    typed = stroke(a_and_b[0]) + data + stroke(a_and_b[1]) + stroke(ENTER)
    assert [code.text for code in KeyboardFramer(layout).feed(typed)] == [f"a{GS}b"], what


def test_control_with_the_bracket_of_the_layout_is_a_group_separator_too() -> None:
    assert KeyboardFramer("de").feed(stroke(30) + stroke(10, CTRL, ALTGR) + stroke(48, SHIFT) + stroke(ENTER)) == [
        Code(f"a{GS}B", None)
    ]


def test_every_character_may_come_as_a_number() -> None:
    code = "]d20104012345678901" + GS + "21A"
    ansi, oem = ("0233", "0128", "0223"), ("130", "225")
    typed = b"".join(by_number(f"{ord(char):03}") for char in code) + b"".join(map(by_number, ansi + oem))
    assert KeyboardFramer("de").feed(typed + stroke(ENTER)) == [
        Code("0104012345678901" + GS + "21Aé€ßéß", "]d2", "Data Matrix")
    ]


def test_a_number_beyond_the_code_pages_is_a_unicode_character() -> None:
    assert KeyboardFramer().feed(by_number("26481") + by_number("20140") + stroke(ENTER)) == [Code("東京", None)]


@pytest.mark.parametrize("digits", ["1114112", "55296", "57343", "999999999999", "0129"])
def test_a_number_that_is_no_character_spoils_its_code_and_no_other(digits: str) -> None:
    framer = KeyboardFramer()
    assert framer.feed(strokes(2) + by_number(digits) + strokes(3, ENTER) + strokes(4, ENTER)) == [Code("3", None)]
    assert framer.counters.unreadable == 1


def test_a_number_counts_though_alt_goes_up_last_or_never() -> None:
    held = press(ALT) + strokes(KEYPAD["0"], KEYPAD["6"], KEYPAD["5"])
    assert KeyboardFramer().feed(held + press(ENTER)) == [Code("A", None)]
    assert KeyboardFramer().feed(press(ALT) + press(KEYPAD["6"], KEYPAD["5"]) + release(ALT) + strokes(ENTER)) == [
        Code("A", None)
    ]


def test_the_keypad_types_digits_whatever_num_lock_is() -> None:
    num_lock, signs = 69, (74, 78, 55, 98, 83, KEYPAD_ENTER)
    low, high = strokes(*map(KEYPAD.__getitem__, "01234")), strokes(*map(KEYPAD.__getitem__, "56789"), *signs)
    assert KeyboardFramer().feed(low + high + low + stroke(num_lock) + high) == [Code("0123456789-+*/.", None)] * 2


def test_a_keyboard_with_caps_lock_on_gives_capitals_and_shift_gives_small_letters() -> None:
    framer = KeyboardFramer()
    assert framer.feed(stroke(CAPS) + stroke(30) + stroke(48, SHIFT) + strokes(2, ENTER)) == [Code("Ab1", None)]
    assert framer.feed(stroke(CAPS) + strokes(30, ENTER)) == [Code("a", None)]


def test_dead_keys_join_with_letters_and_stand_alone_with_a_space() -> None:
    framer = KeyboardFramer("de")
    e, acute, circumflex, one = 18, 13, 41, 2
    assert framer.feed(strokes(acute, e, circumflex, SPACE, acute, one, circumflex, ENTER)) == [Code("é^\xb41^", None)]
    assert framer.feed(strokes(circumflex, circumflex, e, ENTER)) == [Code("^^e", None)]
    assert framer.feed(strokes(acute, 26, ENTER)) == [Code("\xb4ü", None)]


@pytest.mark.parametrize("end", [ENTER, KEYPAD_ENTER, TAB])
def test_enter_and_tab_end_a_code_with_and_without_shift(end: int) -> None:
    framer = KeyboardFramer()
    assert framer.feed(strokes(2, 3, end) + strokes(4, 5) + press(SHIFT, end)) == [Code("12", None), Code("34", None)]


def test_two_suffixes_end_one_code() -> None:
    framer = KeyboardFramer()
    assert framer.feed(strokes(2, ENTER, ENTER, TAB) + stroke(50, CTRL) + stroke(36, CTRL)) == [Code("1", None)]
    assert framer.due_ns is None
    assert framer.counters.dropped == 0


@pytest.mark.parametrize("terminator", ["cr", "lf", "crlf"])
def test_a_tab_is_text_where_only_enter_ends_a_code(terminator: str) -> None:
    assert KeyboardFramer("us", terminator).feed(strokes(2, TAB, 3, ENTER)) == [Code("1\t2", None)]


def test_stx_and_etx_around_a_code_are_taken_off() -> None:
    framer = KeyboardFramer("us", "etx")
    assert framer.feed(stroke(48, CTRL) + strokes(2, 3) + stroke(46, CTRL)) == [Code("12", None)]
    assert KeyboardFramer().feed(stroke(48, CTRL) + strokes(2, 3) + stroke(46, CTRL) + strokes(ENTER)) == [
        Code("12", None)
    ]


def test_a_scanner_without_a_suffix_ends_its_codes_by_silence() -> None:
    framer = KeyboardFramer("us", "none", 50)
    assert framer.feed(strokes(2, 3), now_ns=1_000) == []
    assert framer.due_ns == 1_000 + 50_000_000
    assert framer.wake(50_000_999) == []
    assert framer.wake(50_001_000) == [Code("12", None)]
    assert framer.due_ns is None


def test_what_has_no_enter_is_dropped_in_silence_and_said_after_the_third() -> None:
    framer = KeyboardFramer()
    for turn in range(1, 4):
        assert framer.trouble is None
        framer.feed(strokes(2, 3), now_ns=turn * 10**9)
        assert framer.wake(turn * 10**9 + SILENCE_NS) == []
        assert framer.counters.unterminated == turn
    assert framer.trouble
    assert "Enter" in framer.trouble
    assert framer.feed(strokes(4, ENTER), now_ns=9 * 10**9) == [Code("3", None)]
    assert framer.trouble is None


def test_a_key_that_is_held_and_repeats_does_not_keep_silence_away() -> None:
    framer = KeyboardFramer()
    framer.feed(press(2), now_ns=0)
    framer.feed(event(EV_KEY, 2, 2) * 30, now_ns=SILENCE_NS - 1)
    assert framer.due_ns == SILENCE_NS
    framer.wake(SILENCE_NS)
    assert framer.counters.unterminated == 1
    assert framer.feed(release(2) + strokes(3, ENTER), now_ns=2 * SILENCE_NS) == [Code("2", None)]


def test_a_code_of_a_hundred_thousand_characters_is_dropped_once_and_the_next_is_read() -> None:
    framer = KeyboardFramer()
    for _ in range(100):
        assert framer.feed(strokes(30) * 1000) == []
        assert len(framer._typed) <= 8192
    assert framer.feed(strokes(ENTER, 2, ENTER)) == [Code("1", None)]
    assert (framer.counters.too_long, framer.counters.dropped) == (1, 1)


def test_function_keys_around_a_code_do_no_harm_and_within_it_spoil_it() -> None:
    framer = KeyboardFramer()
    f1, home, right, volume, button = 59, 102, 106, 115, 0x110
    assert framer.feed(strokes(f1, home, 2, button, 3, right, volume, ENTER)) == [Code("12", None)]
    assert framer.feed(strokes(2, f1, 3, ENTER)) == []
    assert framer.counters.unreadable == 1


def test_strokes_that_the_kernel_lost_spoil_one_code_and_leave_no_key_held() -> None:
    framer = KeyboardFramer()
    lost = event(EV_SYN, SYN_DROPPED, 0)
    assert framer.feed(strokes(2, 3) + press(CTRL) + lost) == []
    assert framer.feed(event(EV_KEY, ENTER, 1) + event(EV_KEY, SHIFT, 1)) == []
    assert framer.feed(event(EV_SYN, SYN_REPORT, 0) + strokes(30, ENTER)) == []
    assert framer.feed(strokes(30, ENTER)) == [Code("a", None)]
    assert framer.counters.overrun == 1


def test_caps_lock_that_was_lost_with_other_strokes_is_off_after_the_next_silence() -> None:
    framer = KeyboardFramer()
    framer.feed(stroke(CAPS) + strokes(30) + event(EV_SYN, SYN_DROPPED, 0) + event(EV_SYN, SYN_REPORT, 0))
    framer.feed(strokes(30) + stroke(CAPS) + strokes(ENTER), now_ns=0)
    framer.wake(SILENCE_NS)
    assert framer.feed(strokes(30, ENTER), now_ns=2 * SILENCE_NS) == [Code("a", None)]


def test_a_code_that_is_half_typed_when_the_device_is_opened_is_no_code() -> None:
    framer = KeyboardFramer()
    framer.restart(held=[SHIFT, 30])
    assert framer.feed(release(30, SHIFT) + strokes(2, ENTER) + strokes(30, ENTER)) == [Code("a", None)]


@pytest.mark.parametrize("held", [SHIFT, CTRL, ALT, 30])
def test_a_key_that_is_held_when_the_device_is_opened_does_not_stick(held: int) -> None:
    framer = KeyboardFramer()
    framer.restart(held=[held], now_ns=0)
    assert framer.wake(SILENCE_NS) == []
    assert framer.feed(strokes(30, ENTER), now_ns=SILENCE_NS) == [Code("a", None)]


def test_the_enter_of_the_code_before_may_still_be_down_when_the_device_is_opened() -> None:
    framer = KeyboardFramer()
    framer.restart(held=[ENTER])
    assert framer.feed(release(ENTER) + strokes(2, ENTER)) == [Code("1", None)]


def test_a_modifier_whose_release_got_lost_is_up_after_silence() -> None:
    framer = KeyboardFramer()
    framer.feed(press(SHIFT, 30) + release(30) + strokes(ENTER), now_ns=0)
    assert framer.due_ns is not None
    framer.wake(SILENCE_NS)
    assert framer.feed(strokes(30, ENTER), now_ns=SILENCE_NS) == [Code("a", None)]


def test_a_layout_or_terminator_that_does_not_exist_is_refused_with_what_was_expected() -> None:
    with pytest.raises(ValueError, match="layout: expected one of us, uk, de, fr, got 'dvorak'"):
        KeyboardFramer("dvorak")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="terminator: expected one of auto, cr, lf, crlf, etx, none, got 'tab'"):
        KeyboardFramer("us", "tab")


def garbage(choose: random.Random, events: int) -> bytes:
    """Events as no scanner sends them: any key, any value, losses, other types, often the keys that matter."""
    keys = [SHIFT, 54, CTRL, 97, ALT, ALTGR, ENTER, TAB, 41, 13, *KEYPAD.values(), *range(0x300)]
    data = bytearray()
    for _ in range(events):
        kind = choose.choice([EV_KEY] * 12 + [EV_SYN, EV_SYN, 4, 17, choose.randrange(1 << 16)])
        number = choose.choice(keys) if kind == EV_KEY else choose.choice([SYN_REPORT] * 6 + [SYN_DROPPED, 1, 2])
        value = choose.choice([0, 1, 1, 1, 2, -1, 458_756]) if kind == EV_KEY else choose.randrange(-(1 << 31), 1 << 31)
        data += EVENT.pack(choose.randrange(1 << 62), 0, kind, number if number != CAPS else 59, value)
    return bytes(data)


def check_garbage(total_bytes: int, seed: int) -> None:
    choose = random.Random(seed)
    framers = [KeyboardFramer(layout, end, idle) for layout in LAYOUTS for end, idle in (("auto", 0), ("none", 50))]
    now_ns = 0
    fed = 0
    while fed < total_bytes:
        framer = choose.choice(framers)
        noise = garbage(choose, choose.randrange(1, 400))
        if choose.random() < 0.2:
            noise = choose.randbytes(24 * choose.randrange(1, 400))
        fed += len(noise)
        for chunk in chunks(noise, choose):
            now_ns += choose.choice([1_000, 1_000_000, 80_000_000])
            framer.wake(now_ns)
            framer.feed(chunk, now_ns)
            assert len(framer._typed) <= 8192
            assert len(framer._digits) <= 9
            assert len(framer._rest) < EVENT.size
            assert framer._held <= {42, 54, 29, 97, 56, 100}
        # At the latest the second scan after it is read, when silence lies between as between any two scans of a hand.
        framer.feed(b"\0" * (-len(framer._rest) % EVENT.size))
        heard = []
        for _ in range(2):
            now_ns += SILENCE_NS
            framer.wake(now_ns)
            if framer._caps_lock:
                framer.feed(stroke(CAPS), now_ns)
            heard += framer.feed(strokes(KEYPAD["4"], KEYPAD["7"], ENTER), now_ns)
            now_ns += SILENCE_NS
            heard += framer.wake(now_ns)
        assert heard[-1:] == [Code("47", None)]


def test_no_garbage_raises_or_grows_and_a_scan_after_it_is_found() -> None:
    check_garbage(200_000, seed=1)


@pytest.mark.soak
def test_megabytes_of_garbage_raise_nothing_and_a_scan_after_them_is_found() -> None:
    for seed in range(10):
        check_garbage(1_500_000, seed)


class Xkb:
    """The layouts as the desktops of Linux have them: libxkbcommon with the data of xkb-data."""

    def __init__(self, layout: str) -> None:
        try:
            library = ctypes.CDLL("libxkbcommon.so.0")
        except OSError:
            pytest.skip("needs libxkbcommon.so.0 (apt-get install libxkbcommon0)")

        class Names(ctypes.Structure):
            _fields_ = [(name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options")]

        for name in ("xkb_context_new", "xkb_keymap_new_from_names", "xkb_state_new"):
            getattr(library, name).restype = ctypes.c_void_p
        context = ctypes.c_void_p(library.xkb_context_new(0))
        names = Names(b"evdev", b"pc105", layout.encode(), b"", b"")
        # Without the data there is not even a context.
        keymap = context and library.xkb_keymap_new_from_names(context, ctypes.byref(names), 0)
        if not keymap:
            pytest.skip("needs the keyboard layouts of X (apt-get install xkb-data)")
        self._library, self._keymap = library, ctypes.c_void_p(keymap)

    def types(self, key: int, held: Iterable[int]) -> str:
        """What a key types: a character, a combining one for a dead key, or nothing."""
        state = ctypes.c_void_p(self._library.xkb_state_new(self._keymap))
        for each in held:
            self._library.xkb_state_update_key(state, each + 8, 1)
            if each in (CAPS, 69):
                self._library.xkb_state_update_key(state, each + 8, 0)
        if char := self._library.xkb_state_key_get_utf32(state, key + 8):
            return chr(char)
        name = ctypes.create_string_buffer(64)
        self._library.xkb_keysym_get_name(self._library.xkb_state_key_get_one_sym(state, key + 8), name, 64)
        dead = {"dead_circumflex": "\u0302", "dead_acute": "\u0301", "dead_grave": "\u0300", "dead_diaeresis": "\u0308"}
        return dead.get(name.value.decode(), "")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_are_those_of_x(layout: Layout) -> None:
    xkb = Xkb("gb" if layout == "uk" else layout)
    compared = 0
    for key, (plain, shifted, *third) in _KEYS[layout].items():
        keypad = key in KEYPAD.values() or key == 83
        assert xkb.types(key, [69] if keypad else []) == plain, key
        if not keypad:  # Shift would make arrow keys of them
            assert xkb.types(key, [SHIFT]) == shifted, key
        if third and third[0] != " ":
            # On a French PC tilde and grave accent are dead keys, in X they are not.
            expected = DEAD[third[0]] if layout == "fr" and third[0] in DEAD else third[0]
            assert xkb.types(key, [ALTGR]) == expected, key
        if plain != shifted == plain.upper():
            assert xkb.types(key, [CAPS]) == shifted, key
            assert xkb.types(key, [CAPS, SHIFT]) == plain, key
        elif unicodedata.category(plain) != "Ll":
            assert xkb.types(key, [CAPS, 69] if keypad else [CAPS]) == plain, key
        compared += 1
    assert compared == 48 + 18


@pytest.mark.parametrize("layout", LAYOUTS)
def test_control_makes_of_each_letter_what_x_makes_of_it(layout: Layout) -> None:
    xkb = Xkb("gb" if layout == "uk" else layout)
    for key, (plain, *_) in _KEYS[layout].items():
        if plain.isascii() and plain.isalpha():
            framer = KeyboardFramer(layout, "none", 50)
            framer.feed(stroke(key, CTRL))
            assert framer._typed == [xkb.types(key, [CTRL])]
