"""The check digits of carriers' numbers: each function gives the digit that belongs behind a body.

>>> gs1_digit("34043416109404255")
'7'
"""

from __future__ import annotations


def gs1_digit(body: str) -> str:
    """The GS1 check digit: weights 3 and 1 in turn from the right, modulo 10."""
    return str(-(3 * sum(map(int, body[-1::-2])) + sum(map(int, body[-2::-2]))) % 10)


_UPS_VALUES = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "23456789012345678901234567")


def doubling_digit(body: str) -> str:
    """Weights 1 and 2 in turn from the left, modulo 10; letters count as UPS has them (A is 2, B is 3 …)."""
    values = body.translate(_UPS_VALUES)
    return str(-(sum(map(int, values[::2])) + 2 * sum(map(int, values[1::2]))) % 10)


def luhn_digit(body: str) -> str:
    doubled = sum(map(int, "".join(str(2 * int(digit)) for digit in body[-1::-2])))
    return str(-(doubled + sum(map(int, body[-2::-2]))) % 10)


def modulo_7_digit(body: str) -> str:
    return str(int(body) % 7)


def weighted_11_digit(body: str) -> str:
    """FedEx Express: weights 1, 3, 7 from the right, modulo 11, and 10 counts as 0."""
    return str(sum(int(digit) * (1, 3, 7)[place % 3] for place, digit in enumerate(reversed(body))) % 11 % 10)


_ALPHABET_36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def modulo_37_36_digit(body: str) -> str:
    """ISO/IEC 7064 Mod 37,36."""
    product = 36
    for character in body:
        product = ((product + _ALPHABET_36.index(character)) % 36 or 36) * 2 % 37
    return _ALPHABET_36[(37 - product) % 36]
