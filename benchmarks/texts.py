"""Generate text that compresses about as well as prose: words of uneven frequency, without repeated
phrases."""

from __future__ import annotations

import itertools
import random
from array import array

SLOTS = 1 << 16
WORDS = 20_000
_ONSETS = "b br c ch cl d dr f fl g gr h j k l m n p pl pr qu r s sh sl st t tr v w".split()  # noqa: SIM905
_VOWELS = "a e i o u ai ea ee io ou".split()  # noqa: SIM905
_CODAS = ["", "", "", "l", "m", "n", "nd", "nt", "r", "rt", "s", "st", "t", "x"]


def generator(*what: object) -> random.Random:
    """Return a random generator for a name, the same on every machine."""
    return random.Random("/".join(map(str, ("igny8 benchmark", *what))))


class Prose:
    """Endless ASCII text without tabs, newlines or backslashes."""

    def __init__(self) -> None:
        choose = generator("words")
        words = [_word(choose) for _ in range(WORDS)]
        # Zipf's law: the word of rank r comes about 1/r as often as the first.
        weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(WORDS)))
        self._table = [
            word + choose.choices((b"", b",", b"."), (85, 9, 6))[0]
            for word in choose.choices(words, cum_weights=weights, k=SLOTS)
        ]

    def words(self, choose: random.Random, count: int) -> list[bytes]:
        """Return that many words."""
        return [self._table[number] for number in array("H", choose.randbytes(2 * count))]

    def text(self, choose: random.Random, count: int) -> bytes:
        """Return that many words, separated by spaces."""
        return b" ".join(self.words(choose, count))


def _word(choose: random.Random) -> bytes:
    syllables = choose.choices((1, 2, 3, 4), (25, 40, 25, 10))[0]
    parts = [
        choose.choice(_ONSETS) + choose.choice(_VOWELS) + choose.choice(_CODAS) for _ in range(syllables)
    ]
    return "".join(parts).encode("ascii")
