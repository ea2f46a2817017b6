"""What is done to a good input: bits, bytes and lengths changed, pieces cut out, doubled, or taken from another one."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

MOST_BYTES = 128 * 1024
"""An input's length, which doubling pieces would let grow without end."""
_EDGES = (0, 1, 2**7, 2**8 - 1, 2**15 - 1, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_FORMS = (">B", "<H", ">H", "<I", ">I", "<Q", ">Q")
_MOST_AT_ONCE = 4


def mutated(dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds, a little or very much damaged."""
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.randint(1, _MOST_AT_ONCE)):
        if data:
            dice.choice(_MUTATIONS)(dice, data, seeds)
    return bytes(data[:MOST_BYTES])


def _flip_bits(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _number in range(dice.choice((1, 1, 2, 16))):
        data[_place(dice, data)] ^= 1 << dice.randrange(8)


def _set_bytes(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _number in range(dice.choice((1, 1, 2, 8))):
        data[_place(dice, data)] = dice.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))


def _set_length(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A number at the edge of what its bytes hold, where a length may stand; or one more or less than is there."""
    form = dice.choice(_FORMS)
    size = struct.calcsize(form)
    start = _place(dice, data)
    if start + size > len(data):
        return
    most = 2 ** (8 * size) - 1
    (found,) = struct.unpack_from(form, data, start)
    value = dice.choice((*_EDGES, 2**63, most, found + 1, found - 1, 2 * found, found // 2))
    struct.pack_into(form, data, start, value & most)


def _cut_off(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[dice.randint(0, len(data)) :]


def _cut_out(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[_piece(dice, data)]


def _insert(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    start = _place(dice, data)
    data[start:start] = dice.choice((dice.randbytes(dice.choice((1, 4, 64))), bytes(dice.choice((1, 16, 2048)))))


def _double(dice: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    """A piece twice, or so often that the input is as long as it may be."""
    piece = _piece(dice, data)
    content = bytes(data[piece])
    times = dice.choice((1, 1, 3, 50, MOST_BYTES // max(1, len(content))))
    data[piece.stop : piece.stop] = content * min(times, MOST_BYTES // max(1, len(content)))


def _splice(dice: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    """Goes on with another seed, from about the same place or from anywhere."""
    other = dice.choice(seeds)
    start = _place(dice, data)
    data[start:] = other[dice.choice((start, dice.randint(0, len(other)))) :]


_MUTATIONS: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip_bits,
    _flip_bits,
    _set_bytes,
    _set_bytes,
    _set_length,
    _set_length,
    _cut_off,
    _cut_out,
    _insert,
    _double,
    _splice,
)


def _place(dice: random.Random, data: bytearray) -> int:
    """Anywhere, and often near the beginning, where headers are."""
    return dice.randrange(dice.choice((len(data), min(64, len(data)), min(512, len(data)))))


def _piece(dice: random.Random, data: bytearray) -> slice:
    start = _place(dice, data)
    return slice(start, min(len(data), start + dice.choice((1, 4, 12, 64, 1024))))


_DEEP, _LONG = 2000, 3000
_HOSTILE_JSON = (
    *("null", "true", "-1", "0", "1", "0.5", "-0.0", "1e-320", "1e999", "NaN", "-Infinity", '""', "[]", "{}", "[null]"),
    *("1e308", "9007199254740993", str(2**63 - 1), str(2**63), "-" + str(2**64), "1" * 4000, "1" * 5000),
    *('"\\ud800"', '"\\u0000"', '"\u00e9"', '"' + "x" * _LONG + '"', '"NHWC"', '"Resize"', '"float16"', '"nearest"'),
    *("16384", "16385", "[16384, 16384]", "[1, 16384]", "360", "[0.5, 0.25]", '[{"name": "RandomFlip"}]'),
    *("[" * _DEEP, "[" * _DEEP + "]" * _DEEP, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900),
    *("[" + "0," * _LONG + "0]", "[" + "[]," * _LONG + "[]]", "[" + '{"name": "RandomFlip"},' * 3000 + "8]"),
    *("[" + f"{2**62}," * 3000 + "1]", "[" + "1," * 40 + "0]"),
)


def mutated_json(dice: random.Random, texts: Sequence[str]) -> bytes:
    """One of the JSON texts with some values replaced by hostile ones."""
    tree, values = json.loads(dice.choice(texts)), {}
    for number in range(dice.randint(1, 3)):
        values[f"here {number}"] = dice.choice(_HOSTILE_JSON)
        replace_one(dice, tree, f"here {number}")
    text = json.dumps(tree)
    for mark, value in values.items():
        text = text.replace(f'"{mark}"', value)
    return text.encode()


def replace_one(dice: random.Random, node: Any, value: Any) -> None:
    """Puts the value for another one into a tree of maps and lists; sometimes that is gone instead, or there twice."""
    while True:
        places = list(node) if isinstance(node, dict) else range(len(node))
        if not places:
            return
        place = dice.choice(places)
        if not isinstance(node[place], (dict, list)) or dice.random() < 0.3:
            break
        node = node[place]
    if dice.random() < 0.2:
        del node[place]
    elif isinstance(node, list) and dice.random() < 0.2:
        node.append(node[place])
    else:
        node[place] = value
