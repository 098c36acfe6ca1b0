"""When a pool grows and shrinks, and by how much: with a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgtrans.config import SmartPoolConfig
from msgtrans.pool.expansion import REMEMBERED, Growth, GrowthMetrics

AT_ONCE = SmartPoolConfig(expansion_cooldown=0, shrink_cooldown=0)

configs = st.builds(
    lambda initial, more, low, gap, factors: SmartPoolConfig(
        initial_size=initial,
        max_size=initial + more,
        shrink_threshold=low,
        expansion_threshold=low + gap * (1 - low) * 0.9 + 0.01,
        expansion_factors=tuple(factors),
        expansion_cooldown=10,
        shrink_cooldown=20,
    ),
    st.integers(1, 300),
    st.integers(0, 3000),
    st.floats(0.01, 0.9),
    st.floats(0.0, 0.9),
    st.lists(st.floats(1.001, 4), min_size=1, max_size=5),
)


def grown(growth: Growth, size: int, now: float = 0, *, force: bool = False) -> int:
    """The size after an expansion with everything in use; the same for none."""
    step = growth.expand(size, size, now, force=force)
    return step.to_size if step is not None else size


def test_each_factor_is_taken_once() -> None:
    """Case 25: 100 grows to 200, 300, 360, 396, and by the last factor from there on."""
    growth, sizes = Growth(AT_ONCE), [100]
    for _ in range(6):
        sizes.append(grown(growth, sizes[-1]))
    assert [100, 200, 300, 360, 396, 435, 478] == sizes
    assert 6 == growth.expansions


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (SmartPoolConfig.high_performance(), [200, 500, 1000, 1500, 1800, 1980]),
        (SmartPoolConfig.conservative(), [50, 75, 97, 116, 127]),
    ],
)
def test_presets_grow_by_their_factors(config: SmartPoolConfig, sizes: list[int]) -> None:
    """Each preset has factors of its own, and the size is rounded down."""
    growth, now = Growth(config), 0.0
    for before, after in pairwise(sizes):
        now += config.expansion_cooldown
        assert after == grown(growth, before, now)


def test_growth_ends_at_max_size() -> None:
    """Case 25: an expansion beyond max_size makes max_size of it, and there is none after that, not even by force."""
    growth = Growth(AT_ONCE.replace(max_size=250))
    assert [200, 250, 250] == [grown(growth, 100), grown(growth, 200), grown(growth, 250)]
    assert None is growth.expand(250, 250, 0, force=True)
    assert 2 == growth.expansions


def test_small_pools_grow_by_one_at_least() -> None:
    """Where a factor would add nothing, one is added all the same."""
    growth = Growth(AT_ONCE.replace(initial_size=1, expansion_factors=(1.1,)))
    assert [2, 3, 11, 12] == [grown(growth, 1), grown(growth, 2), grown(growth, 10), grown(growth, 11)]


def test_thresholds_decide() -> None:
    """A pool grows from the expansion threshold on and shrinks down from the shrink threshold, both included."""
    growth = Growth(AT_ONCE)
    assert None is growth.expand(100, 79, 0)
    assert growth.is_short(100, 80)
    assert 200 == growth.shrinkable_to(200, 61, 0)
    assert 160 == growth.shrinkable_to(200, 60, 0)


def test_shrinking_ends_at_the_initial_size() -> None:
    """Case 25: 200 shrinks by 0.8 to 160, 128, 102, then 100, and no further."""
    growth, sizes = Growth(AT_ONCE), [200]
    for _ in range(5):
        sizes.append(growth.shrinkable_to(sizes[-1], 0, 0))
    assert [200, 160, 128, 102, 100, 100] == sizes


def test_cool_downs_are_honoured() -> None:
    """Case 25: the next expansion waits for the last one's cool-down, shrinking for that of the last change."""
    growth = Growth(SmartPoolConfig(expansion_cooldown=30, shrink_cooldown=60))
    assert 200 == grown(growth, 100, 1000)
    assert [200, 300] == [grown(growth, 200, 1029.9), grown(growth, 200, 1030)]
    assert [300, 240] == [growth.shrinkable_to(300, 0, now) for now in (1089.9, 1090)]
    growth.shrunk(300, 240, 1090)
    assert [240, 192] == [growth.shrinkable_to(240, 0, now) for now in (1149.9, 1150)]
    assert (1060, 1150) == (growth.may_expand_at(), growth.may_shrink_at())


def test_force_ignores_threshold_and_cool_down() -> None:
    """Case 25: an expansion by force needs nobody who uses the connections, and takes the next factor."""
    growth = Growth(SmartPoolConfig())
    sizes = [step.to_size for size in (100, 200) if (step := growth.expand(size, 0, 5, force=True)) is not None]
    assert ([200, 300], 1.2) == (sizes, growth.factor)


def test_factors_begin_again_after_shrinking() -> None:
    """Case 25: after a shrink the next expansion takes the first factor."""
    growth = Growth(AT_ONCE)
    assert (300, 1.2) == (grown(growth, grown(growth, 100)), growth.factor)
    growth.shrunk(300, 240, 1)
    assert (2.0, 480) == (growth.factor, grown(growth, 240, 1))


def test_metrics_are_of_the_last_steps() -> None:
    """Case 25: the mean factor is over the steps remembered, frequencies count those of the last hour."""
    growth = Growth(AT_ONCE)
    assert GrowthMetrics(0.0, 0, 0) == growth.metrics(0)
    grown(growth, 100, 0)
    grown(growth, 200, 10)
    growth.shrunk(300, 240, 20)
    assert GrowthMetrics(1.75, 2, 1) == growth.metrics(30)
    assert GrowthMetrics(1.75, 1, 1) == growth.metrics(3605)
    assert GrowthMetrics(1.75, 0, 0) == growth.metrics(4000)
    for second in range(REMEMBERED):
        growth.shrunk(300, 240, second)
    assert (GrowthMetrics(0.0, 0, REMEMBERED), REMEMBERED + 1) == (growth.metrics(999), growth.shrinks)


@given(configs, st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1), st.booleans()), max_size=60))
def test_sizes_stay_within_bounds(config: SmartPoolConfig, turns: list[tuple[float, float, bool]]) -> None:
    """Whatever is in use, every step has a reason, a size within bounds, and its cool-down behind it."""
    growth, size, now = Growth(config), config.initial_size, 0.0
    expanded = changed = -1000.0
    for pause, part, grows in turns:
        now += pause
        in_use = int(part * size)
        if grows:
            step = growth.expand(size, in_use, now)
            if step is not None:
                assert size < step.to_size <= config.max_size
                assert in_use >= config.expansion_threshold * size
                assert now >= expanded + config.expansion_cooldown
                size, expanded, changed = step.to_size, now, now
        else:
            to_size = growth.shrinkable_to(size, in_use, now)
            if to_size != size:
                assert config.initial_size <= to_size < size
                assert in_use <= config.shrink_threshold * size
                assert now >= changed + config.shrink_cooldown
                growth.shrunk(size, to_size, now)
                assert config.expansion_factors[0] == growth.factor
                size, changed = to_size, now
    assert config.initial_size <= size <= config.max_size


@given(configs)
def test_every_pool_reaches_its_bounds(config: SmartPoolConfig) -> None:
    """Always in use, a pool reaches max_size in a bounded number of steps; never in use, it comes back to the start."""
    growth, size, steps = Growth(config), config.initial_size, 0
    while size < config.max_size:
        size, steps = grown(growth, size, force=True), steps + 1
    assert steps == growth.expansions <= config.max_size - config.initial_size
    now = 0.0
    while size > config.initial_size:
        now += config.shrink_cooldown
        before, size = size, growth.shrinkable_to(size, 0, now)
        growth.shrunk(before, size, now)
    assert config.initial_size == size
