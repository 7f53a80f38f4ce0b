"""Transmission: its parts against closed forms and tables, whole estimates on random walks of known share and delay."""

import math

import numpy as np
import pytest

from engine.statistics.transmission import Window, find_events, lag_of, order_interval, regress, student, transmit

SMALL = Window(span=3, before=2, after=30, earliest=-5, latest=20)


def walks(seed: int, share: float = 0.6, delay: int = 12, spread: int = 0, jumps: int = 16) -> tuple[np.ndarray, ...]:
    """Two log prices: the second takes over a share of each jump, so many steps later."""
    random = np.random.default_rng(seed)
    length = 60 * jumps + 100
    source, target = random.normal(0.0, 1e-5, length), random.normal(0.0, 1e-4, length)
    for number in range(jumps):
        at = 40 + 60 * number + int(random.integers(0, 20))
        jump = float(random.choice([-1.0, 1.0]) * random.uniform(0.003, 0.009))
        source[at] += jump
        target[at + delay + int(random.integers(-spread, spread + 1))] += share * jump
    return np.cumsum(source), np.cumsum(target)


@pytest.mark.parametrize(
    ("probability", "freedom", "wanted"),
    [(0.95, 4, 2.1318), (0.95, 10, 1.8125), (0.95, 30, 1.6973), (0.975, 8, 2.3060), (0.05, 10, -1.8125)],
)
def test_quantiles_of_student_are_the_table_s(probability: float, freedom: int, wanted: float) -> None:
    assert student(probability, freedom) == pytest.approx(wanted, abs=0.002)


def test_a_line_without_noise_has_no_width_and_hc3_is_what_it_says() -> None:
    x = np.array([1.0, 2.0, 4.0, -3.0, 0.5, 7.0])
    assert regress(x, 0.25 + 3.0 * x, 0.9) == pytest.approx((3.0, 3.0, 3.0))
    y = np.array([1.5, 1.0, 5.0, -2.0, 0.0, 6.0])
    slope, low, high = regress(x, y, 0.9)
    wanted = np.polyfit(x, y, 1)
    assert slope == pytest.approx(wanted[0])
    # HC3 of a slope: deviations of x, squared, times the residual of a fit that leaves the row out, squared.
    away = x - x.mean()
    left = [y[i] - np.polyval(np.polyfit(np.delete(x, i), np.delete(y, i), 1), x[i]) for i in range(len(x))]
    error = math.sqrt(float(np.sum(away**2 * np.array(left) ** 2))) / float(np.sum(away**2))
    assert (high - low) / 2.0 == pytest.approx(student(0.95, 4) * error)


def test_an_interval_of_order_statistics_lies_between_the_two_nearest() -> None:
    values = np.arange(1.0, 17.0)
    # 1 - 2 P(X < k) of a binomial of 16: 0.9787 for k = 4, 0.9232 for 5, 0.7899 for 6.
    low, high = order_interval(values[::-1].copy(), 0.9)
    assert 5.0 < low < 6.0
    assert low + high == pytest.approx(17.0)
    assert order_interval(values, 0.9231)[0] == pytest.approx(5.0, abs=0.01)
    with pytest.raises(ValueError, match=r"3 values give no interval of 0\.9"):
        order_interval(np.ones(3), 0.9)


def test_an_event_is_a_large_move_alone_in_its_state() -> None:
    source = np.zeros(400)
    for at, jump in ((60, 0.01), (150, -0.01), (250, 0.01), (265, 0.01), (340, 0.01), (396, 0.01)):
        source[at:] += jump
    state = np.ones(400, bool)
    # The third and fourth are too near to one another, the last one too near to the end.
    assert [round(event / 10) for event in find_events(source, state, SMALL)] == [6, 15, 34]
    state[160] = False
    assert [round(event / 10) for event in find_events(source, state, SMALL)] == [6, 34]
    assert len(find_events(source, np.zeros(400, bool), SMALL)) == 0


def test_the_lag_of_one_answer_is_found_either_way() -> None:
    for delay in (-4, 0, 7, 19):
        source, target = np.zeros(100), np.zeros(100)
        source[50:] = 0.01
        target[50 + delay :] = -0.004
        assert lag_of(source, target, 50, SMALL) == pytest.approx(delay, abs=1)


def test_share_and_delay_are_found() -> None:
    source, target = walks(1)
    found = transmit(source, target, np.ones(len(source), bool), SMALL)
    assert found.share == pytest.approx(0.6, abs=0.1)
    assert found.delay == pytest.approx(12.0, abs=1.0)
    assert found.share_low < found.share < found.share_high
    assert found.delay_low <= found.delay <= found.delay_high
    assert found.events == 16


def test_too_few_events_are_refused() -> None:
    source, target = walks(1, jumps=4)
    with pytest.raises(ValueError, match="4 events, allowed are 6 or more"):
        transmit(source, target, np.ones(len(source), bool), SMALL)


def test_nine_intervals_in_ten_hold_the_truth() -> None:
    count = 300
    shares = delays = 0
    for seed in range(count):
        share, delay = 0.2 + 0.002 * seed, 8 + seed % 5
        source, target = walks(seed, share, delay, spread=6)
        found = transmit(source, target, np.ones(len(source), bool), SMALL, 0.9)
        shares += found.share_low <= share <= found.share_high
        delays += found.delay_low <= delay <= found.delay_high
    assert 0.85 <= shares / count <= 0.96
    assert 0.85 <= delays / count <= 0.97


def test_what_does_not_answer_has_no_share() -> None:
    held = 0
    for seed in range(100):
        source, _ = walks(seed)
        _, target = walks(seed + 1_000, share=0.0)
        found = transmit(source, target, np.ones(len(source), bool), SMALL)
        held += found.share_low <= 0.0 <= found.share_high
    assert 80 <= held <= 98
