"""Measures against plain loops and numbers worked out by hand."""

import numpy as np

from trm.evaluation.measures import area_under_curve, calibrate, stop


def test_a_puzzle_stops_at_the_first_halt_or_the_last_step():
    halts = np.array([[False, True, False], [True, False, False], [True, True, False]])
    exact = np.array([[True, False, False], [False, True, False], [True, True, True]])
    found = stop(halts, exact)
    np.testing.assert_array_equal(found.steps, [2, 1, 3])
    np.testing.assert_array_equal(found.exact, [False, False, True])


def test_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    # Few values, so that there are ties.
    right, wrong = rng.integers(2, 8, 40) / 10, rng.integers(0, 7, 30) / 10
    pairs = [(r > w) + (r == w) / 2 for r in right for w in wrong]
    found = area_under_curve(right, wrong)
    assert found is not None
    assert 0.5 < found < 1
    np.testing.assert_allclose(found, np.mean(pairs), rtol=1e-12)
    assert area_under_curve(right, wrong[:0]) is None
    assert area_under_curve(right[:0], wrong) is None


def test_calibration_by_hand():
    probability = np.array([0.05, 0.1, 0.95, 0.95, 1.0, 0.5])
    right = np.array([False, True, True, False, True, True])
    found = calibrate(probability, right)
    # A probability on an edge belongs to the bin above; 1 to the last.
    np.testing.assert_array_equal(found.counts, [1, 1, 0, 0, 0, 1, 0, 0, 0, 3])
    np.testing.assert_allclose(found.probability[[0, 1, 5, 9]], [0.05, 0.1, 0.5, 2.9 / 3])
    np.testing.assert_allclose(found.right[[0, 1, 5, 9]], [0, 1, 1, 2 / 3])
    assert found.probability[2] == found.right[2] == 0
    np.testing.assert_allclose(found.brier, (0.05**2 + 0.9**2 + 0.05**2 + 0.95**2 + 0 + 0.5**2) / 6)
    np.testing.assert_allclose(found.expected_error, (0.05 + 0.9 + 0.5 + 3 * 0.3) / 6)
