"""Random numbers for many lanes at once: lane k is, bit for bit, NumPy's ``SFC64`` of seed k.

A replicate's noise therefore depends on the seed and its number alone, not on how replicates are
cut into blocks or spread over workers, and anybody can draw the same stream with NumPy.

The state of a block of lanes is an array (4, lanes) of uint64 with rows a, b, c, counter.
"""

import math
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from qpsim.kernels.elementary import DROPPED_BITS, minus_twice_log, sincos_of_word
from qpsim.kernels.jit import jit, wide_vectors

_WORD = 0xFFFFFFFF
# The constants of O'Neill's seed_seq_fe, as numpy.random.SeedSequence uses them.
_INIT_A, _MULT_A = 0x43B0D7E5, 0x931E8875
_INIT_B, _MULT_B = 0x8B51F9DD, 0x58F38DED
_MIX_LEFT, _MIX_RIGHT = 0xCA01F9DD, 0x4973F715
_WARM_UP_WORDS = 12
_POOL_WORDS = np.arange(6)  # SFC64 is seeded with six words, in turn from the pool
_SHIFT_16 = np.uint32(16)
# NumPy lets go of the interpreter while it works on 500 numbers or more, and threads that seed at once
# would hand it to each other after every operation; the pool has four numbers a lane, SFC64 six.
_SEEDED_AT_ONCE = 64

_ONE = np.uint64(1)
_SHIFT_B, _SHIFT_C = np.uint64(11), np.uint64(3)
_ROTATE_LEFT, _ROTATE_RIGHT = np.uint64(24), np.uint64(40)


def seed_lanes(seed_sequence: SeedSequence, first: int, count: int) -> np.ndarray:
    """States of the lanes ``first .. first + count - 1`` of a run.

    Parameters
    ----------
    seed_sequence
        The run's seed. It is left as it is: nothing is spawned, and what has been spawned from it
        does not matter.
    first, count
        The first lane and how many.

    Returns
    -------
    Array (4, count) of uint64. Column k is the state of ``numpy.random.SFC64(child)``, where the
    spawn key of ``child`` is ``seed_sequence.spawn_key + (first + k,)``: child ``first + k`` of a
    fresh seed sequence's ``spawn``.

    Notes
    -----
    The child's pool is the parent's pool with the words of the lane's number mixed in, so only
    those are hashed for each lane: well under a second for a million lanes.

    Examples
    --------
    >>> import numpy as np
    >>> child = np.random.SeedSequence(7).spawn(3)[2]
    >>> state = np.random.SFC64(child).state["state"]["state"]
    >>> bool(np.all(seed_lanes(np.random.SeedSequence(7), 2, 1)[:, 0] == state))
    True
    """
    state = np.empty((4, count), dtype=np.uint64)
    numbers = np.arange(first, first + count, dtype=np.uint64)
    wide = min(max((1 << 32) - first, 0), count)  # numbers from 2^32 on are two words of entropy
    for begin, end, n_words in ((0, wide, 1), (wide, count, 2)):
        for k in range(begin, end, _SEEDED_AT_ONCE):
            some = slice(k, min(k + _SEEDED_AT_ONCE, end))
            words = [numbers[some], numbers[some] >> np.uint64(32)][:n_words]
            state[:3, some] = _seed(seed_sequence, words)
    state[3] = 1
    # NumPy drops the first words; here they make normals, which the step loop has compiled anyway.
    fill_normals(state, np.empty((_WARM_UP_WORDS, count)))
    return state


def _seed(parent: SeedSequence, words: list[np.ndarray]) -> np.ndarray:
    """The three words (3, lanes) that NumPy makes of a parent's pool and the words of lanes' numbers."""
    pool_size = parent.pool_size
    mixed = max(_n_words(parent.entropy), pool_size) + _n_words(parent.spawn_key)
    n_hashed = pool_size * pool_size + pool_size * (mixed - pool_size)
    constant = _INIT_A * pow(_MULT_A, n_hashed, 1 << 32) & _WORD
    pool: np.ndarray = np.repeat(parent.pool[:, None], words[0].size, axis=1)
    for word in words:
        hashed, constant = _hash(word.astype(np.uint32), constant, _MULT_A, pool_size)
        mix: np.ndarray = pool * np.uint32(_MIX_LEFT) - hashed * np.uint32(_MIX_RIGHT)
        pool = mix ^ (mix >> _SHIFT_16)
    halves = _hash(pool[_POOL_WORDS % pool_size], _INIT_B, _MULT_B, 6)[0].astype(np.uint64)
    return np.asarray(halves[0::2] | (halves[1::2] << np.uint64(32)))


def _hash(words: np.ndarray, constant: int, multiplier: int, n: int) -> tuple[np.ndarray, int]:
    """Hash n rows of words, each with constants of its own, and give the constant that follows."""
    powers = [constant * pow(multiplier, k, 1 << 32) & _WORD for k in range(n + 1)]
    constants = np.array(powers, dtype=np.uint32)[:, None]
    hashed: np.ndarray = (words ^ constants[:n]) * constants[1:]
    return hashed ^ (hashed >> _SHIFT_16), powers[n]


def _n_words(entropy: Any) -> int:
    """How many 32-bit words NumPy makes of an entropy or a spawn key."""
    if isinstance(entropy, np.ndarray) and entropy.dtype == np.uint32:
        return entropy.size
    if isinstance(entropy, str):
        entropy = int(entropy, 16 if entropy.startswith("0x") else 10)
    if isinstance(entropy, int | np.integer):
        return max(1, -(-int(entropy).bit_length() // 32))
    return sum(_n_words(part) for part in entropy)


@jit
def fill_raw(state, out):
    """Fill ``out`` (n, lanes) of uint64 with each lane's next n words, and advance the states."""
    for k in range(out.shape[0]):
        for lane in range(out.shape[1]):
            a, b, c, counter = state[0, lane], state[1, lane], state[2, lane], state[3, lane]
            out[k, lane] = a + b + counter
            state[0, lane] = b ^ (b >> _SHIFT_B)
            state[1, lane] = c + (c << _SHIFT_C)
            state[2, lane] = ((c << _ROTATE_LEFT) | (c >> _ROTATE_RIGHT)) + (a + b + counter)
            state[3, lane] = counter + _ONE


@jit
def fill_normals(state, out):
    """Fill ``out`` (d, lanes) with standard normals; each lane advances by 2 ceil(d/2) words.

    Box-Muller: coordinates 2k and 2k + 1 are sqrt(-2 log u) (cos 2 pi v, sin 2 pi v), where u in
    (0, 1] and v in [0, 1) are the top 53 bits of two words. An odd d discards the last sine. Tails
    reach sqrt(2 * 53 log 2) = 8.57.
    """
    wide_vectors()
    d, lanes = out.shape
    for k in range(0, d, 2):
        for lane in range(lanes):
            a, b, c, counter = state[0, lane], state[1, lane], state[2, lane], state[3, lane]
            first = a + b + counter
            a = b ^ (b >> _SHIFT_B)
            b = c + (c << _SHIFT_C)
            c = ((c << _ROTATE_LEFT) | (c >> _ROTATE_RIGHT)) + first
            counter += _ONE
            second = a + b + counter
            state[0, lane] = b ^ (b >> _SHIFT_B)
            state[1, lane] = c + (c << _SHIFT_C)
            state[2, lane] = ((c << _ROTATE_LEFT) | (c >> _ROTATE_RIGHT)) + second
            state[3, lane] = counter + _ONE
            # u = count / 2^53
            count = np.float64(np.int64((first >> DROPPED_BITS) + _ONE))
            radius = math.sqrt(minus_twice_log(count))
            sine, cosine = sincos_of_word(second)
            out[k, lane] = radius * cosine
            if k + 1 < d:
                out[k + 1, lane] = radius * sine
