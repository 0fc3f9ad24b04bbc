"""``rng`` arguments: equal seeds for equal states, and another seed at the next use of a generator."""

import pickle

import numpy as np
import pytest
from numpy.random import (
    MT19937,
    PCG64,
    PCG64DXSM,
    SFC64,
    BitGenerator,
    Generator,
    Philox,
    RandomState,
    SeedSequence,
)

import qpsim
from qpsim.nn.data import Stream
from qpsim.seeds import seed_sequence


def drawn(bits):
    bits.random_raw(5)
    return bits


def restored(kind, seed):
    """A new bit generator, of random entropy, that is given the state of another one."""
    bits = kind()
    bits.state = kind(seed).state
    return bits


SPAWNED = {
    "PCG64": lambda: PCG64(1),
    "PCG64DXSM": lambda: PCG64DXSM(1),
    "SFC64": lambda: SFC64(1),
    "MT19937": lambda: MT19937(1),
    "Philox": lambda: Philox(1),
    "drawn PCG64": lambda: drawn(PCG64(1)),
    "drawn Philox": lambda: drawn(Philox(1)),
    "child": lambda: np.random.default_rng(1).spawn(2)[1].bit_generator,
}
DRAWN = {
    "jumped PCG64": lambda: PCG64(1).jumped(),
    "jumped twice": lambda: PCG64(1).jumped().jumped(),
    "jumped MT19937": lambda: MT19937(1).jumped(),
    "jumped Philox": lambda: Philox(1).jumped(),
    "restored PCG64": lambda: restored(PCG64, 1),
    "restored SFC64": lambda: restored(SFC64, 1),
    "restored MT19937": lambda: restored(MT19937, 1),
    "key of Philox": lambda: Philox(key=5),
    "RandomState": lambda: RandomState(3)._bit_generator,
    "drawn SFC64": lambda: drawn(SFC64(1)),
    "drawn MT19937": lambda: drawn(MT19937(1)),
}


def words(seed):
    return tuple(seed.generate_state(4).tolist())


@pytest.mark.parametrize("make", SPAWNED.values(), ids=SPAWNED)
def test_a_seeded_generator_is_spawned_as_numpy_spawns_it(make):
    bits = make()
    expected = Generator(make()).bit_generator.seed_seq.spawn(3)
    assert [words(seed_sequence(bits)) for _ in range(3)] == [words(child) for child in expected]


@pytest.mark.parametrize("make", [*SPAWNED.values(), *DRAWN.values()], ids=[*SPAWNED, *DRAWN])
def test_the_same_state_gives_the_same_seeds_and_no_seed_twice(make):
    one, other = make(), Generator(make())
    found = [words(seed_sequence(one)) for _ in range(4)]
    assert found == [words(seed_sequence(other)) for _ in range(4)]
    assert len(set(found)) == 4


def test_generators_in_different_states_give_different_seeds():
    assert len({words(seed_sequence(make())) for make in DRAWN.values()}) == len(DRAWN)
    assert words(seed_sequence(Philox(1).jumped())) != words(seed_sequence(Philox(1)))


@pytest.mark.parametrize("kind", [PCG64, SFC64, MT19937, Philox])
def test_a_pickled_generator_gives_the_same_seeds_each_time(kind):
    kept = pickle.dumps(Generator(kind(1).jumped() if kind is not SFC64 else drawn(kind(1))))
    one, other = pickle.loads(kept), pickle.loads(kept)
    assert words(seed_sequence(one)) == words(seed_sequence(other))


def test_a_bit_generator_of_another_package_gives_what_it_draws():
    class Unseeded(PCG64):
        def __init__(self):
            super().__init__(3)

    assert isinstance(Unseeded(), BitGenerator)
    assert words(seed_sequence(Unseeded())) == words(seed_sequence(Unseeded()))


def test_a_jumped_generator_simulates_the_same_in_every_run():
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, -3.0], noise_std=0.5)
    runs = [
        qpsim.simulate(p, "ssd", 0.1, 3, 4, rng=Generator(PCG64(1).jumped()), workers=1)
        for _ in range(2)
    ]
    assert np.array_equal(runs[0].excess_loss, runs[1].excess_loss)
    again = qpsim.rerun(runs[0], workers=1)
    assert np.array_equal(again.excess_loss, runs[0].excess_loss)


def test_streams_of_training_data_take_the_same_generators():
    for make in DRAWN.values():
        one, other = Stream(Generator(make())), Stream(Generator(make()))
        assert one.state() == other.state()


def test_whole_numbers_and_seed_sequences_are_what_numpy_makes_of_them():
    for rng in (0, 7, np.int64(7), 2**100):
        assert words(seed_sequence(rng)) == words(SeedSequence(int(rng)))
    for rng in ([1, 2], (1, 2), np.array([1, 2])):
        assert words(seed_sequence(rng)) == words(SeedSequence([1, 2]))
    parent = SeedSequence(3)
    parent.spawn(2)
    assert words(seed_sequence(parent)) == words(SeedSequence(3))
    assert seed_sequence(parent).n_children_spawned == 0
    assert words(seed_sequence(None)) != words(seed_sequence(None))


@pytest.mark.parametrize(
    "rng", ["0", 1.5, True, np.bool_(True), [1, 0.5], [[1, 2], [3, 4]], [], {}, RandomState(1), -1, [1, -2]]
)  # fmt: skip
def test_anything_else_is_refused(rng):
    with pytest.raises(qpsim.QpsimError, match=r"rng must be|must not be negative"):
        seed_sequence(rng)
