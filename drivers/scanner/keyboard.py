"""Key strokes of a scanner that types like a keyboard in, codes out: pure, bounded, and indifferent to chunking.

The bytes are what the kernel gives for an input device (struct input_event, 64 bit). The strokes are read by the
layout that the scanner is set to, with Shift, Caps Lock, AltGr, Ctrl and dead keys as on such a keyboard of a PC.
Control characters come as Ctrl with a key or as Alt with digits of the keypad, so that GS is kept. What does not
become a code is dropped and counted, nothing raises.

>>> def typed(*keys):
...     return b"".join(EVENT.pack(0, 0, EV_KEY, key, value) for key in keys for value in (1, 0))
>>> KeyboardFramer().feed(typed(2, 3, 4, 28))
[Code(text='123', identifier=None, symbology=None, encoding='utf-8')]
>>> KeyboardFramer("fr").feed(typed(2, 3, 4, 28))
[Code(text='&é"', identifier=None, symbology=None, encoding='utf-8')]
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from drivers.scanner.code import Code, bare, read
from drivers.scanner.framing import MAX_MESSAGE_BYTES, Counters

Layout: TypeAlias = Literal["us", "de", "fr", "uk"]

EVENT: Final = struct.Struct("=qqHHi")
"""Seconds, microseconds, type, code, value."""
EV_SYN: Final = 0
EV_KEY: Final = 1
SYN_REPORT: Final = 0
SYN_DROPPED: Final = 3
RELEASED: Final = 0
PRESSED: Final = 1

PARTIAL_AFTER_MS: Final = 500
"""A code in which no key was touched for this long will not get its Enter."""
DROPS_IN_A_ROW: Final = 3
"""So many lost with no code between mean a wrong setting, no longer an accident."""

KEY_ENTER: Final = 28
KEY_KPENTER: Final = 96
KEY_TAB: Final = 15
KEY_CAPSLOCK: Final = 58
KEY_LEFTALT: Final = 56
KEY_RIGHTALT: Final = 100
BTN_MISC: Final = 0x100
"""Keys end here; above are buttons."""
DIGIT_KEYS: Final = frozenset(range(2, 12))
"""KEY_1 to KEY_0: a keyboard has them."""

_SHIFT: Final = frozenset({42, 54})
_CTRL: Final = frozenset({29, 97})
_ALT: Final = frozenset({KEY_LEFTALT, KEY_RIGHTALT})
_MODIFIERS: Final = _SHIFT | _CTRL | _ALT
# Num Lock, Scroll Lock and the logo keys: they type nothing, and the keypad types digits whatever Num Lock is.
_MUTE: Final = frozenset({69, 70, 125, 126})
_ENDING_KEYS: Final = {KEY_ENTER: "\r", KEY_KPENTER: "\r", KEY_TAB: "\t"}
_ENDS: Final = {"auto": "\r\n\t", "cr": "\r\n", "lf": "\r\n", "crlf": "\r\n", "etx": "\x03", "none": ""}
_KEYPAD_DIGITS: Final = dict(zip((82, 79, 80, 81, 75, 76, 77, 71, 72, 73), "0123456789", strict=True))

# The main rows of a keyboard by their key codes: digits with the key before 1, the two rows below with what is right of
# P and L, and the lowest with the key beside the left Shift. A combining character is a dead key.
_ROWS: Final = ((41, *range(2, 14)), range(16, 28), (*range(30, 41), 43), (86, *range(44, 54)))
_CIRCUMFLEX, _ACUTE, _GRAVE, _DIAERESIS, _TILDE = "\u0302", "\u0301", "\u0300", "\u0308", "\u0303"
_LEVELS: Final[dict[Layout, tuple[tuple[str, str, str, str], ...]]] = {
    "us": (
        ("`1234567890-=", "qwertyuiop[]", "asdfghjkl;'\\", "<zxcvbnm,./"),
        ("~!@#$%^&*()_+", "QWERTYUIOP{}", 'ASDFGHJKL:"|', ">ZXCVBNM<>?"),
    ),
    "uk": (
        ("`1234567890-=", "qwertyuiop[]", "asdfghjkl;'#", "\\zxcvbnm,./"),
        ('¬!"£$%^&*()_+', "QWERTYUIOP{}", "ASDFGHJKL:@~", "|ZXCVBNM<>?"),
        ("    €        ", "            ", "            ", "           "),
    ),
    "de": (
        (f"{_CIRCUMFLEX}1234567890ß{_ACUTE}", "qwertzuiopü+", "asdfghjklöä#", "<yxcvbnm,.-"),
        (f'°!"§$%&/()=?{_GRAVE}', "QWERTZUIOPÜ*", "ASDFGHJKLÖÄ'", ">YXCVBNM;:_"),
        ("  ²³   {[]}\\ ", "@ €        ~", "            ", "|      µ   "),
    ),
    "fr": (
        ("²&é\"'(-è_çà)=", f"azertyuiop{_CIRCUMFLEX}$", "qsdfghjklmù*", "<wxcvbn,;:!"),
        ("~1234567890°+", f"AZERTYUIOP{_DIAERESIS}£", "QSDFGHJKLM%µ", ">WXCVBN?./§"),
        # Tilde and grave accent are dead keys on a French PC, so that a scanner types a space after them.
        (f"  {_TILDE}#{{[|{_GRAVE}\\^@]}}", "  €        ¤", "            ", "           "),
    ),
}
_SPACING: Final = {_CIRCUMFLEX: "^", _ACUTE: "\xb4", _GRAVE: "`", _DIAERESIS: "¨", _TILDE: "~"}
"""What a dead key types with a space, and before what it cannot join with."""

_Keys: TypeAlias = dict[int, tuple[str, ...]]


def _keys(layout: Layout) -> _Keys:
    """Key code → what it types alone, with Shift and, where the layout has it, with AltGr (a space: nothing)."""
    levels = ["".join(rows) for rows in _LEVELS[layout]]
    keys: _Keys = dict(zip((code for row in _ROWS for code in row), zip(*levels, strict=True), strict=True))
    same = {57: " ", 55: "*", 74: "-", 78: "+", 98: "/", 117: "=", 121: ".", **_KEYPAD_DIGITS}
    same[83] = "," if layout == "de" else "."
    return keys | {code: (char, char) for code, char in same.items()}


_KEYS: Final[dict[str, _Keys]] = {layout: _keys(layout) for layout in _LEVELS}
_WITH_CTRL: Final = dict(zip("[\\]34567-/", "\x1b\x1c\x1d\x1b\x1c\x1d\x1e\x1f\x1f\x1f", strict=True))
"""What Ctrl makes of keys by their place, named as on a US keyboard: Ctrl+] is GS, and so is Ctrl+5."""
_NOTHING: Final = "\0"
"""Stands for a stroke that types nothing: harmless around a code, and a sign of a lost character within it."""


class KeyboardFramer:
    """Reads what is typed on a keyboard of `layout`. Times are of one monotonic clock, in nanoseconds.

    `terminator` is what ends a code: ``auto`` is Enter, the Enter of the keypad or Tab; ``cr``, ``lf`` and ``crlf``
    are Enter alone; ``etx`` is Ctrl+C; ``none`` leaves the end to `idle_flush_ms` of silence. Without that,
    silence ends no code.

    :raises ValueError: for any other layout or terminator
    """

    def __init__(
        self,
        layout: Layout = "us",
        terminator: str = "auto",
        idle_flush_ms: int = 0,
        *,
        max_characters: int = MAX_MESSAGE_BYTES,
    ) -> None:
        if layout not in _KEYS:
            raise ValueError(f"layout: expected one of {', '.join(_KEYS)}, got {layout!r}")
        if terminator not in _ENDS:
            raise ValueError(f"terminator: expected one of {', '.join(_ENDS)}, got {terminator!r}")
        self.counters = Counters()
        self.trouble: str | None = None
        """What is wrong with what is typed and what to do, as the end of a sentence; ``None`` from the next code on."""
        self._layout = layout
        self._keys = _KEYS[layout]
        self._has_altgr = len(_LEVELS[layout]) > 2
        self._oem = "cp437" if layout == "us" else "cp850"
        self._ends = _ENDS[terminator]
        self._flush = idle_flush_ms > 0
        self._idle_ns = (idle_flush_ms or PARTIAL_AFTER_MS) * 1_000_000
        self._max_characters = max_characters
        self.restart()

    def restart(self, held: Iterable[int] = (), now_ns: int = 0) -> None:
        """The device was opened anew, while the keys `held` were down: with any of them, a code is half typed."""
        self.trouble = None
        self._held: set[int] = set()
        self._caps_lock = False
        self._typed: list[str] = []
        self._digits = ""  # of the keypad, while Alt is held
        self._dead = ""
        self._rest = b""
        self._stale = False  # until the next SYN_REPORT
        self._unsure = self._skipping = bool(frozenset(held) - _ENDING_KEYS.keys())
        self._last_stroke_ns = now_ns
        self._lost = 0

    @property
    def due_ns(self) -> int | None:
        """When `wake` wants to be called: a code that was begun is then given up, or taken as it is."""
        waiting = self._typed or self._digits or self._dead or self._held or self._skipping or self._unsure
        return self._last_stroke_ns + self._idle_ns if waiting else None

    def feed(self, data: bytes, now_ns: int = 0) -> list[Code]:
        """Codes that the events in `data` complete, in order."""
        data = self._rest + data if self._rest else data
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        codes: list[Code] = []
        for _, _, kind, number, value in EVENT.iter_unpack(data[:whole]):
            if kind == EV_SYN:
                if number == SYN_DROPPED:
                    self._overrun()
                elif number == SYN_REPORT:
                    self._stale = False
            elif kind == EV_KEY and number < BTN_MISC and not self._stale and value in (PRESSED, RELEASED):
                # What a held key repeats is no stroke: it types nothing, and must not keep silence away.
                self._last_stroke_ns = now_ns
                code = self._press(number) if value == PRESSED else self._release(number)
                if code:
                    codes.append(code)
        return codes

    def wake(self, now_ns: int) -> list[Code]:
        """Ends what is pending once it is due: as a code if silence ends codes, else dropped and counted."""
        due_ns = self.due_ns
        if due_ns is None or now_ns < due_ns:
            return []
        if self._dead:
            self._put(_SPACING[self._dead])
        if self._digits:
            self._put(self._by_number())
        code = None
        if self._flush:
            code = self._end()
        elif self._text():
            self.counters.unterminated += 1
            end = next((end for end in ("auto", "etx") if self._typed[-1] in _ENDS[end]), None)
            self._lose(
                f'ends its codes with another key than is set: set terminator = "{end}"'
                if end
                else "types codes without an Enter: let it read the code of its manual for Enter (CR) as suffix, or "
                'set terminator = "none" and idle_flush_ms = 50'
            )
        self._typed, self._dead, self._skipping = [], "", False
        # A scanner holds no key in silence: one that seems to be held went up unheard.
        self._held = set()
        if self._unsure:
            self._caps_lock = self._unsure = False
        return [code] if code else []

    def _overrun(self) -> None:
        """The kernel lost strokes: what is typed up to the next end has a hole, and what is held is not known."""
        self.counters.overrun += 1
        self.counters.lose()
        self._held, self._caps_lock = set(), False
        self._typed, self._digits, self._dead = [], "", ""
        self._stale = self._unsure = self._skipping = True

    def _release(self, key: int) -> Code | None:
        self._held.discard(key)
        return self._type(self._by_number()) if self._digits and not self._held & _ALT else None

    def _press(self, key: int) -> Code | None:
        if key in _MODIFIERS:
            self._held.add(key)
            return None
        if key == KEY_CAPSLOCK:
            self._caps_lock = not self._caps_lock
            return None
        if key in _MUTE:
            return None
        if key in _KEYPAD_DIGITS and self._held & _ALT:
            # One digit more than any character has, and no more: the number is wrong then.
            self._digits = (self._digits + _KEYPAD_DIGITS[key])[:9]
            return None
        code = self._type(self._by_number()) if self._digits else None
        # Enter never ends two codes at once: an Alt number that ended one has left nothing.
        return self._type(_ENDING_KEYS.get(key) or self._character(key)) or code

    def _character(self, key: int) -> str:
        """What a key types with the modifiers that are held."""
        left_alt, right_alt = KEY_LEFTALT in self._held, KEY_RIGHTALT in self._held
        ctrl, shift = bool(self._held & _CTRL), bool(self._held & _SHIFT)
        # Ctrl with the left Alt is AltGr on a PC.
        altgr = self._has_altgr and (right_alt or (ctrl and left_alt))
        if (left_alt or right_alt) and not altgr:
            return _NOTHING
        levels = self._keys.get(key)
        if levels is None:
            return _NOTHING
        plain, shifted, *third = levels
        if altgr:
            char = third[0] if third and not shift and third[0] != " " else _NOTHING
            return self._control(key, char) if ctrl and right_alt else char
        if self._caps_lock and plain != shifted == plain.upper():
            shift = not shift
        char = shifted if shift else plain
        return self._control(key, char) if ctrl else char

    @staticmethod
    def _control(key: int, char: str) -> str:
        """What Ctrl makes of a key: by its character, or by its place where the layout has no such character there."""
        if "@" <= char <= "~":
            return chr(ord(char) & 0x1F)
        return _WITH_CTRL.get(_KEYS["us"][key][0], _NOTHING)

    def _by_number(self) -> str:
        """The character of an Alt number: of the ANSI code page with a leading zero, of the OEM one without."""
        digits, self._digits = self._digits, ""
        number = int(digits)
        if 0x80 <= number <= 0xFF:
            char = bytes((number,)).decode("cp1252" if digits[0] == "0" else self._oem, "ignore")
            return char or _NOTHING
        return chr(number) if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else _NOTHING

    def _type(self, char: str) -> Code | None:
        """Add a character to the code, or end it."""
        if self._dead:
            dead, self._dead = self._dead, ""
            joined = unicodedata.normalize("NFC", char + dead)
            if char == " ":
                char = _SPACING[dead]
            elif char.isascii() and len(joined) == 1:
                char = joined
            else:
                self._put(_SPACING[dead])
                char = _SPACING.get(char, char)
        if char in self._ends:
            return self._end()
        if char in _SPACING:
            self._dead = char
        else:
            self._put(char)
        return None

    def _put(self, char: str) -> None:
        if self._skipping:
            return
        if len(self._typed) >= self._max_characters:
            self.counters.too_long += 1
            self._typed, self._skipping = [], True
            self._lose(f'has typed {self._max_characters} characters and no end: set terminator = "auto"')
        else:
            self._typed.append(char)

    def _text(self) -> str:
        return bare("".join(self._typed))

    def _end(self) -> Code | None:
        text = self._text()
        self._typed, self._skipping = [], False
        if not text:
            return None
        code = read(text)
        if code is None:
            self.counters.unreadable += 1
            self._lose(
                f'types keys that no code has in layout "{self._layout}": set layout as the scanner is set, and set no '
                "function keys in it"
            )
            return None
        self.trouble = None
        self._lost = 0
        return self.counters.took(code)

    def _lose(self, why: str) -> None:
        self.counters.lose()
        self._lost += 1
        if self._lost >= DROPS_IN_A_ROW:
            self.trouble = why
