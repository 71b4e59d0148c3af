"""The loader: a function of seed and step, in the training order, every test example once."""

import itertools
from collections import Counter

import numpy as np
import pytest

from trm.errors import InputError
from trm.puzzles.arrays import PuzzleArrays, PuzzleSet
from trm.puzzles.loader import HostBatch, TrainLoader, load_test_batches, pack
from trm.puzzles.metadata import IGNORED_LABEL, Metadata
from trm.puzzles.prefetch import Prefetcher


def make_set(sizes_by_group: list[list[int]], name: str = "all") -> PuzzleArrays:
    """Make a set whose first token is the example's index: groups of puzzles with the given numbers of examples."""
    sizes = list(itertools.chain(*sizes_by_group))
    examples = sum(sizes)
    inputs = np.stack([np.arange(examples), np.zeros(examples)], axis=1).astype(np.int32)
    return PuzzleArrays(
        inputs,
        inputs + 1,
        np.arange(len(sizes), dtype=np.int32),
        np.r_[0, np.cumsum(sizes)].astype(np.int32),
        np.r_[0, np.cumsum([len(group) for group in sizes_by_group])].astype(np.int32),
    )


def make_puzzles(**sets: PuzzleArrays) -> PuzzleSet:
    groups = sum(len(s.group_indices) - 1 for s in sets.values())
    return PuzzleSet("made up", Metadata(0, 0, 0, 1000, 2, 1000, groups, 1.0, groups, list(sets)), sets)


MIXED = make_set([[1, 1, 1], [2], [3, 1], [1], [4, 2]])


def equal(a: HostBatch, b: HostBatch) -> bool:
    return all((x == y).all() for x, y in zip(a, b, strict=True))


def test_batch_is_a_function_of_seed_and_step():
    puzzles = make_puzzles(all=MIXED)
    in_order = TrainLoader(puzzles, 4, seed=1)
    batches = [in_order.load(step) for step in range(30)]
    anywhere = TrainLoader(puzzles, 4, seed=1)
    for step in (17, 3, 29, 0, 18):
        assert equal(anywhere.load(step), batches[step])
    assert not all(equal(TrainLoader(puzzles, 4, seed=2).load(step), batches[step]) for step in range(5))


def test_processes_see_slices_of_one_batch():
    puzzles = make_puzzles(all=MIXED)
    whole = TrainLoader(puzzles, 6, seed=0)
    parts = [TrainLoader(puzzles, 6, seed=0, process=i, processes=3) for i in range(3)]
    for step in range(10):
        joined = HostBatch(*(np.concatenate(f) for f in zip(*(p.load(step) for p in parts), strict=True)))
        assert equal(whole.load(step), joined)
    with pytest.raises(InputError, match="multiple of 4 processes"):
        TrainLoader(puzzles, 6, seed=0, processes=4)


def test_every_epoch_visits_every_group_once_and_nothing_is_dropped():
    """With one example a puzzle the stream is a chain of permutations, whatever the batch size."""
    puzzles = make_puzzles(all=make_set([[1, 1], [1], [1, 1, 1], [1], [1], [1], [1]]))
    loader = TrainLoader(puzzles, 4, seed=0)
    seen = np.concatenate([loader.load(step).puzzle_identifiers for step in range(70)])
    group_of = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 6])
    epochs = group_of[seen].reshape(-1, 7)
    assert (np.sort(epochs, axis=1) == np.arange(7)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 30


def test_puzzles_of_a_group_are_drawn_uniformly():
    puzzles = make_puzzles(all=make_set([[1, 1, 1, 1]]))
    loader = TrainLoader(puzzles, 50, seed=0)
    counts = Counter(int(i) for step in range(80) for i in loader.load(step).puzzle_identifiers)
    # 4,000 draws of four: a standard deviation of 27 around 1,000.
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_packing_cuts_only_the_last_puzzle_and_draws_without_replacement():
    loader = TrainLoader(make_puzzles(all=MIXED), 5, seed=3)
    sizes = np.diff(MIXED.puzzle_indices)
    for step in range(200):
        batch = loader.load(step)
        examples, owners = batch.inputs[:, 0], batch.puzzle_identifiers
        assert ((examples >= MIXED.puzzle_indices[owners]) & (examples < MIXED.puzzle_indices[owners + 1])).all()
        runs = [
            (owner, [e for _, e in run])
            for owner, run in itertools.groupby(zip(owners, examples, strict=True), lambda x: x[0])
        ]
        for owner, run in runs[:-1]:
            # Two epochs may meet in the same puzzle.
            assert len(run) % sizes[owner] == 0
        assert all(len(run) == len(set(run)) for owner, run in runs if len(run) <= sizes[owner])


def test_pack_by_hand():
    indices = np.array([0, 2, 5, 6])
    packed, used = pack(np.array([1, 0, 2]), indices, 4, lambda size, count: np.arange(size)[::-1][:count])
    assert packed.examples.tolist() == [4, 3, 2, 1]
    assert packed.puzzles.tolist() == [1, 1, 1, 0]
    assert used == 2
    short, used = pack(np.array([2]), indices, 4, lambda size, count: np.arange(count))
    assert (short.examples.tolist(), used) == ([5], 1)


def test_several_sets_take_turns_and_do_not_mix():
    small, large = make_set([[1]] * 10), make_set([[1]] * 30)
    large = PuzzleArrays(
        large.inputs + 100, large.labels, large.puzzle_identifiers, large.puzzle_indices, large.group_indices
    )
    loader = TrainLoader(make_puzzles(small=small, large=large), 5, seed=0)
    from_large = [loader.load(step).inputs[:, 0] >= 100 for step in range(40)]
    assert all(batch.all() or not batch.any() for batch in from_large)
    assert sum(batch.all() for batch in from_large) == 30


@pytest.mark.parametrize("processes", [1, 2])
def test_test_batches_hold_every_example_once(processes: int):
    puzzles = make_puzzles(a=MIXED, b=make_set([[1]] * 3))
    by_process = [list(load_test_batches(puzzles, 4, i, processes)) for i in range(processes)]
    batches = [
        (parts[0][0], HostBatch(*(np.concatenate(f) for f in zip(*(b for _, b in parts), strict=True))))
        for parts in zip(*by_process, strict=True)
    ]
    assert len(batches) == 5
    for name, arrays in puzzles.sets.items():
        inputs = np.concatenate([batch.inputs for n, batch in batches if n == name])
        labels = np.concatenate([batch.labels for n, batch in batches if n == name])
        owners = np.concatenate([batch.puzzle_identifiers for n, batch in batches if n == name])
        count = len(arrays.inputs)
        np.testing.assert_array_equal(inputs[:count], arrays.inputs)
        np.testing.assert_array_equal(labels[:count], arrays.labels)
        np.testing.assert_array_equal(
            owners[:count], np.repeat(np.arange(len(arrays.puzzle_identifiers)), np.diff(arrays.puzzle_indices))
        )
        assert (inputs[count:] == 0).all()
        assert (labels[count:] == IGNORED_LABEL).all()


def test_a_token_outside_the_vocabulary_is_named():
    arrays = make_set([[1]] * 4)
    arrays.labels[2, 1] = 1000
    with pytest.raises(InputError, match="made up: labels: example 2: found token 1000, expected 0 to 999"):
        list(load_test_batches(make_puzzles(all=arrays), 4))


def test_prefetcher_passes_items_and_errors_on():
    def items():
        yield 1
        yield 2
        raise InputError("broken")

    with Prefetcher(items()) as prefetched:
        assert next(prefetched) == 1
        assert next(prefetched) == 2
        for _ in range(2):
            with pytest.raises(InputError, match="broken"):
                next(prefetched)
    with Prefetcher(iter(range(10)), depth=2) as prefetched:
        assert list(prefetched) == list(range(10))
        assert list(prefetched) == []
    # One that nobody empties can be closed.
    Prefetcher(iter(range(1000)), depth=2).close()
