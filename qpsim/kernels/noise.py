"""Random numbers for many lanes at once. Lane k is NumPy's ``SFC64`` of the k-th spawned seed, bit for bit.

So the noise of a replicate depends only on the seed and its number, not on blocks or workers, and NumPy can draw the
same stream.

The state of a block of lanes is an array (4, lanes) of uint64 with rows a, b, c, counter.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from qpsim.kernels.elementary import DROPPED_BITS, minus_twice_log, sincos_of_word
from qpsim.kernels.jit import jit, jit_inline, wide_vectors

_WORD = 0xFFFFFFFF
# The constants of O'Neill's seed_seq_fe, as numpy.random.SeedSequence uses them.
_INIT_A, _MULT_A = 0x43B0D7E5, 0x931E8875
_INIT_B, _MULT_B = 0x8B51F9DD, 0x58F38DED
_MIX_LEFT, _MIX_RIGHT = np.uint64(0xCA01F9DD), np.uint64(0x4973F715)
_WARM_UP_WORDS = 12
_SEED_WORDS = 6  # SFC64 is seeded with three words of 64 bits, made from the words of the pool
_LOW_WORD, _HALF_WORD, _ONE_WORD = np.uint64(_WORD), np.uint64(16), np.uint64(32)

_ONE = np.uint64(1)
_SHIFT_B, _SHIFT_C = np.uint64(11), np.uint64(3)
_ROTATE_LEFT, _ROTATE_RIGHT = np.uint64(24), np.uint64(40)


def seed_lanes(seed_sequence: SeedSequence, first: int, count: int) -> np.ndarray:
    """States of the lanes ``first .. first + count - 1`` of a run.

    Parameters
    ----------
    seed_sequence
        The run's seed. It is not changed: nothing is spawned from it, and earlier spawning has no influence.
    first, count
        Number of the first lane, and number of lanes.

    Returns
    -------
    Array (4, count) of uint64. Column k is the state of ``numpy.random.SFC64(child)``, where the
    spawn key of ``child`` is ``seed_sequence.spawn_key + (first + k,)``: child ``first + k`` of a
    fresh seed sequence's ``spawn``.

    Notes
    -----
    A child's pool is the parent's pool with the words of the lane's number mixed in. Only these are hashed for each
    lane, which takes well under a second for a million lanes.

    Examples
    --------
    >>> import numpy as np
    >>> child = np.random.SeedSequence(7).spawn(3)[2]
    >>> state = np.random.SFC64(child).state["state"]["state"]
    >>> bool(np.all(seed_lanes(np.random.SeedSequence(7), 2, 1)[:, 0] == state))
    True
    """
    # numbers from 2^32 on have two words
    wide = min(max((1 << 32) - first, 0), count)
    if 0 < wide < count:
        parts = (
            seed_lanes(seed_sequence, first, wide),
            seed_lanes(seed_sequence, 1 << 32, count - wide),
        )
        return np.concatenate(parts, axis=1)
    state = np.empty((4, count), dtype=np.uint64)
    pool = seed_sequence.pool.astype(np.uint64)
    mixed = max(_n_words(seed_sequence.entropy), pool.size) + _n_words(seed_sequence.spawn_key)
    n_hashed = pool.size * pool.size + pool.size * (mixed - pool.size)
    output = _constants(_INIT_B, _MULT_B, 0, _SEED_WORDS)
    mixing = _constants(_INIT_A, _MULT_A, n_hashed, (1 if wide > 0 else 2) * pool.size)
    own = np.repeat(pool[:, None], count, axis=1)
    fill_states(np.uint64(first), own, mixing, output, state)
    # NumPy drops the first words. Here they are drawn as normals, by a function that is compiled anyway.
    fill_normals(state, np.empty((_WARM_UP_WORDS, count)))
    return state


@lru_cache(maxsize=64)
def _constants(first: int, multiplier: int, n_hashed: int, n: int) -> np.ndarray:
    """Hash constants (n + 1,) for n words after ``n_hashed`` others, and the one after them."""
    powers = [pow(multiplier, n_hashed + k, 1 << 32) for k in range(n + 1)]
    constants = np.array([first * power & _WORD for power in powers], dtype=np.uint64)
    constants.setflags(write=False)
    return constants


def _n_words(entropy: Any) -> int:
    """Number of 32-bit words that NumPy makes of an entropy or a spawn key."""
    if isinstance(entropy, np.ndarray) and entropy.dtype == np.uint32:
        return entropy.size
    if isinstance(entropy, str):
        entropy = int(entropy, 16 if entropy.startswith("0x") else 10)
    if isinstance(entropy, int | np.integer):
        return max(1, -(-int(entropy).bit_length() // 32))
    return sum(_n_words(part) for part in entropy)


@jit
def fill_states(first, pools, mixing, output, state):
    """Write NumPy's states (4, lanes) of the lanes from ``first`` on, before any word is drawn.

    A lane's number is mixed, word by word, into its copy of the parent's pool, ``pools`` (words,
    lanes); ``mixing`` and ``output`` are the constants to hash with. Words of 32 bits are stored in 64 bits.
    """
    size, lanes = pools.shape
    for n in range(mixing.size - 1):
        k, shift = n % size, _ONE_WORD * np.uint64(n // size)
        for lane in range(lanes):
            hashed = hash_word((first + np.uint64(lane)) >> shift, mixing[n], mixing[n + 1])
            mix = (pools[k, lane] * _MIX_LEFT - hashed * _MIX_RIGHT) & _LOW_WORD
            pools[k, lane] = mix ^ (mix >> _HALF_WORD)
    for k in range(3):
        low, high = 2 * k, 2 * k + 1
        for lane in range(lanes):
            below = hash_word(pools[low % size, lane], output[low], output[high])
            above = hash_word(pools[high % size, lane], output[high], output[high + 1])
            state[k, lane] = below | (above << _ONE_WORD)
            state[3, lane] = _ONE


@jit_inline
def hash_word(word, constant, following):
    """The hash of a word of 32 bits, the lower ones of these 64."""
    hashed = (((word & _LOW_WORD) ^ constant) * following) & _LOW_WORD
    return hashed ^ (hashed >> _HALF_WORD)


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
