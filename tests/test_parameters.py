"""Claims about hyperparameters: what they may be, and how positions become values and back."""

from __future__ import annotations

import copy
import json
import math
from decimal import Decimal

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import given
from hypothesis import strategies as st

from keratune import _json, conditions, parameters
from keratune.parameters import Boolean, Choice, Fixed, Float, Int

positions = st.floats(0.0, 1.0)
samplings = st.sampled_from(["linear", "log", "reverse_log"])


def relu(x):
    return max(x, 0)


def tanh(x):
    return math.tanh(x)


class Block:
    """A class among choices."""


@st.composite
def integers(draw):
    sampling = draw(samplings)
    smallest = 1 if sampling != "linear" else -(10**6)
    low, high = sorted(draw(st.integers(smallest, 10**6)) for _ in range(2))
    least = 2 if sampling != "linear" else 1
    step = draw(st.none() | st.integers(least, 1000))
    return Int("x", low, high, step=step, sampling=sampling)


@st.composite
def stepped_floats(draw):
    sampling = draw(samplings)
    unit = Decimal(10) ** -draw(st.integers(0, 5))
    smallest = 1 if sampling != "linear" else -(10**4)
    low, high = sorted(draw(st.integers(smallest, 10**4)) * unit for _ in range(2))
    step = draw(st.integers(1, 500)) * unit
    step = step + 1 if sampling != "linear" else max(step, (high - low) / 5000, unit)
    return Float("x", float(low), float(high), step=float(step), sampling=sampling)


@st.composite
def free_floats(draw):
    sampling = draw(samplings)
    unit = 10.0 ** -draw(st.integers(0, 6))
    smallest = 1 if sampling != "linear" else -(10**6)
    low, high = sorted(draw(st.integers(smallest, 10**6)) * unit for _ in range(2))
    return Float("x", low, high, sampling=sampling)


scalars = st.one_of(
    st.lists(st.integers(-50, 50), min_size=1, max_size=6),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=6),
    st.lists(st.text(max_size=4), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=6),
    st.lists(st.none() | st.tuples(st.integers(), st.text(max_size=2)), min_size=1, max_size=6),
)
choices = scalars.map(lambda values: Choice("x", values))
finite = st.one_of(
    integers(),
    stepped_floats(),
    choices,
    st.booleans().map(lambda default: Boolean("x", default)),
    st.sampled_from([3, 2.5, "a", True]).map(lambda value: Fixed("x", value)),
)
everything = finite | free_floats()


def same(one, other):
    return _json.key(one) == _json.key(other)


# From positions to values and back


@given(finite, positions)
def test_a_value_comes_back_exactly_from_its_position(parameter, position):
    value = parameter.prob_to_value(position)
    back = parameter.prob_to_value(parameter.value_to_prob(value))
    assert same(value, back)
    assert type(value) is type(back)


@given(free_floats(), positions)
def test_a_float_comes_back_from_its_position_to_nine_digits(parameter, position):
    value = parameter.prob_to_value(position)
    back = parameter.prob_to_value(parameter.value_to_prob(value))
    size = max(abs(parameter.min_value), abs(parameter.max_value))
    slack = 0.0 if parameter.sampling == "log" else 1e-9 * size
    assert back == pytest.approx(value, rel=1e-9, abs=slack)


@given(everything, st.sampled_from([0.0, 1.0]) | positions)
def test_every_position_gives_a_value_that_is_allowed(parameter, position):
    assert parameter.contains(parameter.prob_to_value(position))


@given(everything, positions)
def test_the_position_of_a_value_lies_in_the_unit_interval(parameter, position):
    assert 0.0 <= parameter.value_to_prob(parameter.prob_to_value(position)) <= 1.0


@given(everything)
def test_every_grid_value_is_allowed_and_found_at_its_index(parameter):
    size = parameter.grid_size
    for index in sorted({0, size // 3, size // 2, size - 1}):
        value = parameter.grid_value(index)
        assert parameter.contains(value)
        assert parameter.grid_index(value) == index


@given(finite)
def test_all_different_values_can_be_listed_by_index(parameter):
    size = parameter.size
    indices = range(size) if size < 300 else [0, 1, size // 2, size - 1]
    keys = {_json.key(parameter.nth(index)) for index in indices}
    assert len(keys) == len(indices)
    assert all(parameter.contains(parameter.nth(index)) for index in indices)


@given(stepped_floats() | integers())
def test_values_on_a_lattice_are_exact_decimals(parameter):
    if not parameter.lattice or parameter.sampling != "linear":
        return
    for index in {0, parameter.grid_size // 2, parameter.grid_size - 1}:
        exact = Decimal(repr(parameter.min_value)) + index * Decimal(repr(parameter.step))
        assert Decimal(repr(parameter.grid_value(index))) == exact


@given(st.integers(-100, 100), st.integers(1, 50), st.integers(0, 50), st.integers(0, 4))
def test_both_ends_are_reached_when_the_step_fits(low, step, steps, digits):
    unit = Decimal(10) ** -digits
    ends = float(low * unit), float((low + steps * step) * unit)
    parameter = Float("x", *ends, step=float(step * unit))
    assert parameter.prob_to_value(0.0) == ends[0]
    assert parameter.prob_to_value(1.0) == ends[1]
    assert parameter.grid_size == steps + 1


@pytest.mark.parametrize(
    ("low", "high", "step", "expected"),
    [
        (0, 1, 0.2, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 0.6, 0.1, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        (0.0, 0.3, 0.1, [0.0, 0.1, 0.2, 0.3]),
        (-1, 1, 0.5, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (0.0, 0.35, 0.1, [0.0, 0.1, 0.2, 0.3]),
    ],
)
def test_a_stepped_float_lists_clean_numbers_and_its_upper_end(low, high, step, expected):
    assert list(Float("x", low, high, step=step).values) == expected


def test_a_whole_number_with_log_steps_stays_an_int():
    values = Int("x", 2, 16, step=2, sampling="log").values
    assert values == (2, 4, 8, 16)
    assert all(type(value) is int for value in values)


@pytest.mark.parametrize("sampling", ["log", "reverse_log"])
def test_a_whole_number_without_step_never_exceeds_its_maximum(sampling):
    parameter = Int("x", 2, 32, sampling=sampling)
    assert parameter.prob_to_value(1.0) == 32
    assert parameter.prob_to_value(0.0) == 2
    drawn = {parameter.prob_to_value(i / 5000) for i in range(5001)}
    assert drawn == set(range(2, 33))


def test_every_number_of_a_range_has_the_same_share_of_the_unit_interval():
    parameter = Int("x", 1, 4)
    drawn = [parameter.prob_to_value((i + 0.5) / 400) for i in range(400)]
    assert [drawn.count(value) for value in (1, 2, 3, 4)] == [100] * 4


@pytest.mark.parametrize("kind", [Int, Float])
@pytest.mark.parametrize("sampling", ["linear", "log", "reverse_log"])
@pytest.mark.parametrize("step", [None, 2])
def test_a_range_of_one_point_has_that_value(kind, sampling, step):
    parameter = kind("x", 3, 3, step=step, sampling=sampling)
    assert parameter.size == 1
    assert [parameter.prob_to_value(p) for p in (0.0, 0.4, 1.0)] == [3, 3, 3]
    assert parameter.contains(3) and parameter.nth(0) == 3
    assert 0.0 <= parameter.value_to_prob(3) <= 1.0


def test_a_range_without_step_offers_a_grid_ten_values():
    assert Float("x", 0.0, 1.0).values == pytest.approx([0.05 + 0.1 * i for i in range(10)])
    assert len(Int("x", 1, 10**6, sampling="log").values) == 10
    assert Int("x", 1, 3, sampling="log").values == (1, 2, 3)


def test_a_seeded_sample_is_repeatable():
    parameter = Float("x", 0.0, 1.0)
    assert parameter.random_sample(0) == parameter.random_sample(0)
    assert parameter.random_sample(0) != parameter.random_sample(1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None, (1,), 0.5])
def test_what_is_no_number_of_the_range_is_not_contained(value):
    assert not Int("x", 1, 5).contains(value)
    assert not Float("x", 1, 5).contains(value)


@pytest.mark.parametrize(
    ("value", "inside"), [(0.3, True), (0.30000000000000004, True), (0.31, False)]
)
def test_rounding_does_not_put_a_number_beside_its_lattice(value, inside):
    assert Float("x", 0, 1, step=0.1).contains(value) is inside


def test_a_fine_lattice_far_from_zero_tells_its_numbers_apart():
    parameter = Float("x", 1e9, 1e9 + 1, step=1e-3)
    assert parameter.contains(1e9 + 0.25)
    assert not parameter.contains(1e9 + 0.0005)


def test_huge_whole_numbers_are_exact():
    parameter = Int("x", 0, 2**63 - 1)
    assert parameter.size == 2**63
    assert parameter.nth(2**63 - 1) == 2**63 - 1
    assert parameter.contains(2**63 - 2)


# Configuration


@given(everything)
def test_a_configuration_survives_json_and_is_left_as_it_was(parameter):
    parameter.conditions = [conditions.Parent("p", ["a"]), conditions.Parent("q", [(1, 2), None])]
    stored = json.loads(json.dumps(parameters.serialize(parameter), allow_nan=False))
    before = copy.deepcopy(stored)
    twins = [parameters.deserialize(stored) for _ in range(2)]
    assert stored == before
    for twin in twins:
        assert type(twin) is type(parameter)
        assert parameters.serialize(twin) == parameters.serialize(parameter)
        assert twin.conditions == parameter.conditions
        assert all(same(a, b) for a, b in zip(twin.values, parameter.values, strict=True))


def test_a_configuration_has_the_keys_that_kerastuner_reads():
    assert list(Int("x", 1, 5).get_config().items()) == [
        ("name", "x"),
        ("default", None),
        ("conditions", []),
        ("min_value", 1),
        ("max_value", 5),
        ("step", 1),
        ("sampling", "linear"),
    ]
    assert Float("x", 0, 1).get_config()["default"] == 0.0
    assert Boolean("x").get_config() == {"name": "x", "default": False, "conditions": []}
    assert Fixed("x", 3).get_config() == {"name": "x", "conditions": [], "value": 3}
    assert list(Choice("x", ["a"]).get_config()) == [
        "name",
        "default",
        "conditions",
        "values",
        "ordered",
    ]


def test_an_argument_that_repeats_the_standard_does_not_make_another_hyperparameter():
    assert Int("x", 1, 5).definition() == Int("x", 1.0, 5, step=1, default=1).definition()
    assert Choice("x", [1, 2]).definition() == Choice("x", [1, 2], True, default=1).definition()
    assert Int("x", 1, 5).definition() != Int("x", 1, 5, default=2).definition()


def test_numbers_of_numpy_become_numbers_of_python():
    parameter = Int("x", np.int64(1), np.float64(5), step=np.int32(2), default=np.int64(3))
    json.dumps(parameter.get_config())
    assert type(parameter.default) is int
    stepped = Float("x", np.float32(0), np.float64(1), step=np.float64(0.1), default=np.float32(0))
    json.dumps(stepped.get_config())
    assert stepped.values[3] == 0.3
    assert Choice("x", np.array([1, 2])).values == (1, 2)
    assert Choice("x", [np.float32(0.5), np.float32(1.0)]).values == (0.5, 1.0)
    assert type(Fixed("x", np.int64(3)).value) is int


# What is refused, and in which words


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Boolean("b", default=None), ValueError, "must be a Python boolean"),
        (lambda: Boolean("b", default="yes"), ValueError, "must be a Python boolean"),
        (lambda: Boolean("b", default=[]), ValueError, "must be a Python boolean"),
        (lambda: Choice("c", []), ValueError, "`values` must be provided for `Choice`"),
        (lambda: Choice("c", None), ValueError, "`values` must be provided for `Choice`"),
        (lambda: Choice("c", [1, "a"]), TypeError, "can contain only one type"),
        (lambda: Choice("c", [1, 2.0]), TypeError, "can contain only one type"),
        (lambda: Choice("c", [1, True]), TypeError, "can contain only one type"),
        (lambda: Choice("c", [{"a": 1}]), TypeError, "can contain only `int`"),
        (lambda: Choice("c", [1, 2], default=3), ValueError, "default value should be"),
        (lambda: Choice("c", ["a"], ordered=True), ValueError, "must be `False`"),
        (lambda: Fixed("f", None), ValueError, "value must be an"),
        (lambda: Fixed("f", [1]), ValueError, "value must be an"),
        (lambda: Int("k", 0.5, 2), ValueError, "min_value must be an int"),
        (lambda: Int("k", 1, "5"), ValueError, "max_value must be an int"),
        (lambda: Int("k", 1, None), ValueError, "max_value must be an int"),
        (lambda: Int("k", 1, float("inf")), ValueError, "max_value must be an int"),
        (lambda: Int("k", 1, 5, step=1.5), ValueError, "step must be an int"),
        (lambda: Int("k", 1, 0), ValueError, "min_value 1 is greater than the max_value 0"),
        (lambda: Int("k", 1, 2, sampling="x"), ValueError, "sampling must be one of"),
        (lambda: Float("k", 0, 1, sampling="log"), ValueError, "does not support negative values"),
        (
            lambda: Int("k", 1, 10, step=1, sampling="log"),
            ValueError,
            r"For HyperParameters.Int\(name='k'\), expected step > 1",
        ),
        (lambda: Float("k", 0, 1, step=0), ValueError, "expected step > 0"),
        (lambda: conditions.Parent("p", []), ValueError, "at least one value"),
        (lambda: conditions.Parent("p", [{}]), TypeError, "Can contain only"),
        (
            lambda: parameters.deserialize({"class_name": "Odd", "config": {}}),
            ValueError,
            "Unrecognized HP type",
        ),
        (
            lambda: conditions.deserialize({"class_name": "Odd", "config": {}}),
            ValueError,
            "Unrecognized condition",
        ),
    ],
)
def test_a_mistake_is_answered_with_the_rule(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_an_unknown_sampling_and_its_way_out_are_shown():
    with pytest.raises(ValueError, match=r"Float\(name='rate'\).*reverse_log.*'logarithmic'"):
        Float("rate", 1, 2, sampling="logarithmic")


# Choices of every kind


def test_booleans_among_choices_stay_booleans():
    choice = Choice("c", [True, False])
    assert choice.values == (True, False)
    assert [choice.prob_to_value(p) for p in (0.1, 0.9)] == [True, False]
    assert choice.prob_to_value(0.1) is True
    assert choice.decode(1) is True and choice.decode(0) is False  # as KerasTuner stores them
    assert Choice("c", [True, False], ordered=True).ordered


def test_one_true_and_the_text_one_are_different_choices():
    for values in ([1, 2], ["1", "2"], [1.0, 2.0]):
        assert type(Choice("c", values).decode(1)) is type(values[0])
    assert not Choice("c", [2, 3]).contains(True)


def test_none_is_a_choice_beside_others():
    choice = Choice("regularizer", [None, "l2"])
    assert choice.values == (None, "l2")
    assert choice.default is None
    assert choice.contains(None) and not choice.contains("None")
    assert choice.value_to_prob(None) == 0.25
    assert Choice("c", [1, None], default=None).default == 1
    assert not choice.ordered


def test_tuples_are_choices_and_come_back_from_json_as_tuples():
    choice = Choice("kernel", [(3, 3), (5, 5)], default=(5, 5))
    twin = parameters.deserialize(json.loads(json.dumps(parameters.serialize(choice))))
    assert twin.values == ((3, 3), (5, 5))
    assert twin.default == (5, 5)
    assert twin.decode([3, 3]) == (3, 3)


def test_functions_and_classes_are_choices_by_their_label():
    choice = Choice("activation", [relu, tanh, Block, None])
    stored = json.loads(json.dumps(choice.get_config()))
    assert stored["values"][0] == {"object": f"{__name__}.relu"}
    twin = Choice.from_config(stored)
    assert twin.grid_size == 4
    value = json.loads(json.dumps(_json.encode(tanh)))
    assert choice.decode(value) is tanh
    assert choice.recall(value) == (tanh,)
    assert twin.contains(value)
    assert twin.value_to_prob(value) == choice.value_to_prob(tanh)
    assert twin.definition() == choice.definition()


def test_functions_that_have_one_label_are_refused():
    with pytest.raises(ValueError, match="different labels.*<lambda>"):
        Choice("activation", [lambda x: x, lambda x: -x])


def test_infinity_and_nan_are_choices_that_json_can_hold():
    choice = Choice("clip", [1.0, math.inf, math.nan], default=math.inf)
    twin = Choice.from_config(json.loads(json.dumps(choice.get_config(), allow_nan=False)))
    assert twin.default == math.inf
    assert math.isnan(twin.values[2])
    assert twin.grid_index(math.nan) == 2


def test_a_choice_that_is_listed_twice_is_drawn_twice_as_often_and_tried_once():
    choice = Choice("c", ["a", "a", "b"])
    assert [choice.prob_to_value((i + 0.5) / 3) for i in range(3)] == ["a", "a", "b"]
    assert [choice.grid_value(i) for i in range(choice.grid_size)] == ["a", "b"]
    assert choice.size == 2


def test_a_value_that_is_no_choice_has_no_position():
    with pytest.raises(ValueError, match="'c' is not one of the choices"):
        Choice("c", ["a", "b"]).value_to_prob("c")


def test_the_text_form_shows_all_arguments():
    assert repr(Boolean("b")) == 'Boolean(name: "b", default: False)'
    assert repr(Fixed("f", 3.5)) == "Fixed(name: f, value: 3.5)"
    assert "min_value: 1, max_value: 5, step: 1, sampling: linear, default: 1" in repr(
        Int("x", 1, 5)
    )
    assert "min_value: '0.0', max_value: '1.0', step: 'None'" in repr(Float("x", 0, 1))
    assert repr(Choice("c", ["a"])) == (
        "Choice(name: 'c', values: ['a'], ordered: False, default: a)"
    )


# Conditions


def test_a_condition_keeps_fractions_and_mixed_values_as_they_are():
    assert conditions.Parent("p", [1, 2.5]).values == [1, 2.5]
    assert conditions.Parent("p", ["a", None]).is_active({"p": None})
    assert conditions.Parent("p", [1, None]).is_active({"p": None})
    assert not conditions.Parent("p", ["a"]).is_active({})


@pytest.mark.parametrize("value", [(3, 3), None, relu, True, 2, 0.5, "a"])
def test_a_condition_holds_after_json_for_every_kind_of_value(value):
    condition = conditions.Parent("p", [value])
    stored = json.loads(json.dumps(conditions.serialize(condition)))
    twin = conditions.deserialize(stored)
    assert twin == condition and hash(twin) == hash(condition) and repr(twin) == repr(condition)
    assert twin.is_active({"p": value}) and condition.is_active({"p": value})
    assert not twin.is_active({"p": "other"})
