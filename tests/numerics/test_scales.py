"""Claims about how the unit interval is laid over a range."""

from __future__ import annotations

from decimal import Decimal

import pytest

pytest.importorskip("hypothesis")
from hypothesis import assume, given
from hypothesis import strategies as st

from keratune.numerics import scales

SAMPLINGS = st.sampled_from(scales.SAMPLINGS)
positions = st.floats(0.0, 1.0)


@st.composite
def ranges(draw):
    """A sampling and two ends that it allows, written with at most six digits."""
    sampling = draw(SAMPLINGS)
    smallest = 1 if sampling != scales.LINEAR else -(10**6)
    low, high = sorted(draw(st.integers(smallest, 10**6)) for _ in range(2))
    scale = 10.0 ** -draw(st.integers(0, 6))
    return low * scale, high * scale, sampling


@st.composite
def lattices(draw):
    """A lattice whose ends and step are decimals, and the number of its values."""
    sampling = draw(SAMPLINGS)
    digits = draw(st.integers(0, 4))
    unit = Decimal(10) ** -digits
    count = draw(st.integers(1, 30))
    if sampling == scales.LINEAR:
        low = draw(st.integers(-1000, 1000)) * unit
        step = draw(st.integers(1, 200)) * unit
        high = low + (count - 1) * step
    else:
        low = draw(st.integers(1, 1000)) * unit
        step = Decimal(draw(st.sampled_from(["1.5", "2", "2.5", "3", "10"])))
        count = min(count, 8)
        high = low * step ** (count - 1)
    return scales.Lattice(float(low), float(high), float(step), sampling), count


@given(ranges(), positions)
def test_a_position_gives_a_value_of_the_range(spec, position):
    low, high, sampling = spec
    assert low <= scales.from_unit(position, low, high, sampling) <= high


@given(ranges(), positions)
def test_a_value_of_a_continuous_range_comes_back_from_its_position(spec, position):
    low, high, sampling = spec
    value = scales.from_unit(position, low, high, sampling)
    again = scales.from_unit(scales.to_unit(value, low, high, sampling), low, high, sampling)
    size = value if sampling == scales.LOG else max(abs(low), abs(high))
    assert again == pytest.approx(value, rel=1e-9, abs=1e-9 * size)


@given(ranges())
def test_the_ends_of_the_unit_interval_are_the_ends_of_the_range(spec):
    low, high, sampling = spec
    assert scales.from_unit(0.0, low, high, sampling) == low
    assert scales.from_unit(1.0, low, high, sampling) == high
    if low < high:
        assert scales.to_unit(low, low, high, sampling) == pytest.approx(0.0, abs=1e-9)
        assert scales.to_unit(high, low, high, sampling) == pytest.approx(1.0)


@given(ranges(), positions, positions)
def test_a_later_position_never_gives_a_smaller_value(spec, one, other):
    low, high, sampling = spec
    first, second = sorted([one, other])
    values = [scales.from_unit(p, low, high, sampling) for p in (first, second)]
    assert values[0] <= values[1] or values[0] == pytest.approx(values[1])


@given(lattices())
def test_a_lattice_reaches_both_ends_when_they_are_on_it(spec):
    lattice, count = spec
    assert lattice.size == count
    ends = {float(lattice.value(0)), float(lattice.value(count - 1))}
    assert ends == {lattice.low, lattice.high}


@given(lattices())
def test_every_lattice_value_is_found_at_its_index(spec):
    lattice, count = spec
    for index in range(count):
        assert lattice.index(float(lattice.value(index))) == index
        assert lattice.find(float(lattice.value(index))) == index


@given(lattices(), st.floats(0.05, 0.95))
def test_what_lies_between_two_lattice_values_is_on_none(spec, part):
    lattice, count = spec
    assume(count > 1)
    one, other = float(lattice.value(0)), float(lattice.value(1))
    assert lattice.find(one + part * (other - one)) is None


@given(
    st.floats(0, 10),
    st.floats(0, 10),
    st.floats(1e-3, 5),
    st.sampled_from([scales.LINEAR, scales.LOG, scales.REVERSE_LOG]),
)
def test_no_lattice_value_leaves_the_range(one, other, step, sampling):
    low, high = sorted([one, other])
    if sampling != scales.LINEAR:
        low, high, step = low + 0.01, high + 0.01, 1.1 + step
    lattice = scales.Lattice(low, high, step, sampling)
    for index in {0, lattice.size // 2, lattice.size - 1}:
        assert low <= float(lattice.value(index)) <= high


@pytest.mark.parametrize("high", [0.1 * 3, 0.3, 1 - 0.7])
def test_an_end_that_was_computed_in_floats_is_reached(high):
    lattice = scales.Lattice(0.0, high, 0.1, scales.LINEAR)
    assert lattice.size == 4
    assert float(lattice.value(3)) == pytest.approx(0.3)


def test_a_lattice_over_huge_whole_numbers_is_exact():
    lattice = scales.Lattice(0, 2**63 - 1, 1, scales.LINEAR)
    assert lattice.size == 2**63
    assert lattice.value(2**63 - 2) == 2**63 - 2
    assert lattice.index(2**62 + 1) == 2**62 + 1


def test_reverse_log_steps_descend_from_the_upper_end():
    lattice = scales.Lattice(1.0, 8.0, 2.0, scales.REVERSE_LOG)
    assert [float(lattice.value(i)) for i in range(lattice.size)] == [8.0, 7.0, 5.0, 1.0]


@given(st.floats(0, 1), st.integers(1, 1000))
def test_each_position_lies_in_a_cell_and_each_cell_holds_its_middle(position, cells):
    assert 0 <= scales.cell(position, cells) < cells
    index = scales.cell(position, cells)
    assert scales.cell(scales.middle(index, cells), cells) == index


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_on_no_lattice(value):
    assert scales.Lattice(0.0, 1.0, 0.1, scales.LINEAR).find(value) is None
