"""Claims about what training reported: observations, histories and the tracker."""

from __future__ import annotations

import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keratune.metrics import MetricHistory, MetricObservation, MetricsTracker

NAN = math.nan


def history_of(values, direction="min"):
    history = MetricHistory(direction)
    for step, value in enumerate(values):
        history.update(value, step)
    return history


# --- observations -----------------------------------------------------------------------------


def test_an_observation_holds_a_list():
    assert MetricObservation(0.5, 0).value == [0.5]
    assert MetricObservation([0.5, 0.6], 0).value == [0.5, 0.6]


def test_an_observation_takes_further_values():
    observation = MetricObservation(1.0, 2)
    observation.append(3.0)
    observation.append([5.0, 7.0])
    assert observation == MetricObservation([1.0, 3.0, 5.0, 7.0], 2)
    assert observation.mean() == 4.0


def test_an_observation_leaves_the_list_that_it_was_given():
    values = [1.0]
    MetricObservation(values, 0).append(2.0)
    assert values == [1.0]


def test_the_mean_with_a_nan_is_nan():
    assert math.isnan(MetricObservation([NAN, 1.0], 0).mean())


def test_the_mean_of_opposite_infinities_is_nan_without_a_warning():
    assert math.isnan(MetricObservation([math.inf, -math.inf], 0).mean())


def test_an_observation_shows_values_and_step():
    assert repr(MetricObservation(0.5, 0)) == "MetricObservation(value=[0.5], step=0)"


def test_an_observation_returns_from_its_config():
    observation = MetricObservation([0.5, 0.7], 3)
    assert observation.get_config() == {"value": [0.5, 0.7], "step": 3}
    assert MetricObservation.from_config(observation.get_config()) == observation


def test_observations_are_equal_by_values_and_step():
    assert MetricObservation(0.5, 0) != MetricObservation(0.5, 1)
    assert MetricObservation(0.5, 0) != MetricObservation(0.6, 0)
    assert MetricObservation(0.5, 0) != 0.5


# --- histories --------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["up", "MAX", None])
def test_a_history_needs_a_direction(direction):
    with pytest.raises(ValueError, match="`direction` should be one of"):
        MetricHistory(direction)


def test_an_empty_history_has_no_values():
    history = MetricHistory()
    assert history.direction == "min"
    assert history.get_best_value() is None
    assert history.get_best_step() is None
    assert history.get_last_value() is None
    assert history.get_statistics() == {}
    assert history.get_history() == []


@pytest.mark.parametrize(
    ("values", "direction", "best_value", "best_step"),
    [
        ([3.0, 1.0, 2.0], "min", 1.0, 1),
        ([3.0, 1.0, 2.0], "max", 3.0, 0),
        ([2.0, 1.0, 1.0], "min", 1.0, 1),
        ([2.0, 4.0, 4.0], "max", 4.0, 1),
        ([NAN, 2.0, 1.0], "min", 1.0, 2),
        ([NAN, 2.0, 1.0], "max", 2.0, 1),
        ([1.0, NAN], "min", 1.0, 0),
        ([math.inf, NAN], "min", math.inf, 0),
    ],
)
def test_the_best_is_the_first_best_number(values, direction, best_value, best_step):
    history = history_of(values, direction)
    assert history.get_best_value() == best_value
    assert history.get_best_step() == best_step


def test_a_history_of_nan_has_a_nan_best_value_and_no_best_step():
    history = history_of([NAN, NAN])
    assert math.isnan(history.get_best_value())
    assert history.get_best_step() is None
    assert all(math.isnan(value) for value in history.get_statistics().values())


def test_of_equal_steps_the_lower_is_best_whatever_came_first():
    history = MetricHistory()
    history.update(1.0, step=5)
    history.update(1.0, step=2)
    assert history.get_best_step() == 2


def test_a_second_execution_can_move_the_best_step():
    history = history_of([1.0, 2.0])
    history.update(9.0, step=0)
    assert (history.get_best_value(), history.get_best_step()) == (2.0, 1)


def test_a_second_execution_that_is_nan_takes_its_step_out():
    history = history_of([1.0, 2.0])
    history.update(NAN, step=0)
    assert (history.get_best_value(), history.get_best_step()) == (2.0, 1)
    history.update(NAN, step=1)
    assert history.get_best_step() is None


@given(
    reports=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([-1.0, 0.0, 0.5, 2.0, NAN])), max_size=30
    ),
    direction=st.sampled_from(["min", "max"]),
)
def test_the_best_that_is_kept_is_the_best_that_a_search_finds(reports, direction):
    history = MetricHistory(direction)
    for step, value in reports:
        history.update(value, step)
    means = {seen.step: seen.mean() for seen in history.get_history()}
    numbers = {step: mean for step, mean in means.items() if not math.isnan(mean)}
    if numbers:
        best = min(numbers.values()) if direction == "min" else max(numbers.values())
        assert history.get_best_value() == best
        assert history.get_best_step() == next(s for s in numbers if numbers[s] == best)
    else:
        assert history.get_best_step() is None


def test_the_history_is_sorted_by_step_and_the_last_value_is_at_the_highest():
    history = MetricHistory()
    history.update(1.0, step=7)
    history.update(2.0, step=3)
    history.update(4.0, step=7)
    assert history.get_history() == [MetricObservation(2.0, 3), MetricObservation([1.0, 4.0], 7)]
    assert history.get_last_value() == 2.5


def test_what_a_history_returns_can_be_changed_without_harm():
    history = history_of([1.0, 2.0])
    history.get_history()[0].append(9.0)
    assert history.get_best_value() == 1.0
    assert history.get_history()[0] == MetricObservation(1.0, 0)


def test_setting_a_history_adds_to_what_is_there():
    history = history_of([1.0])
    history.set_history([MetricObservation([2.0, 3.0], 0), MetricObservation(0.5, 1)])
    assert history.get_history() == [
        MetricObservation([1.0, 2.0, 3.0], 0),
        MetricObservation(0.5, 1),
    ]
    assert history.get_best_step() == 1


def test_statistics_are_those_of_the_numbers_among_the_means():
    statistics = history_of([1.0, NAN, [2.0, 4.0], 5.0]).get_statistics()
    means = np.array([1.0, 3.0, 5.0])
    assert statistics == {
        "min": 1.0,
        "max": 5.0,
        "mean": 3.0,
        "median": 3.0,
        "var": np.var(means),
        "std": np.std(means),
    }


def test_statistics_of_infinities_give_no_warning():
    assert history_of([math.inf, 1.0]).get_statistics()["max"] == math.inf


def test_a_history_returns_from_its_config():
    history = history_of([3.0, [1.0, 2.0]], "max")
    config = json.loads(json.dumps(history.get_config()))
    assert config == {
        "direction": "max",
        "observations": [{"value": [3.0], "step": 0}, {"value": [1.0, 2.0], "step": 1}],
    }
    again = MetricHistory.from_config(config)
    assert again.get_config() == config
    assert again.get_best_step() == 0


# --- the tracker ------------------------------------------------------------------------------


def test_a_new_metric_is_registered_with_its_direction():
    tracker = MetricsTracker()
    tracker.update("val_f1_score", 0.5)
    tracker.update("my_metric", 0.5)
    assert tracker.get_direction("val_f1_score") == "max"
    assert tracker.get_direction("my_metric") == "min"


def test_a_metric_can_be_registered_with_a_direction_of_its_own():
    tracker = MetricsTracker()
    tracker.register("my_metric", "max")
    assert tracker.exists("my_metric")
    assert tracker.get_direction("my_metric") == "max"
    with pytest.raises(ValueError, match="`direction` should be one of"):
        tracker.register("other", "up")


def test_keras_metrics_are_registered_under_their_own_names():
    tracker = MetricsTracker([keras.metrics.F1Score(name="agreement"), keras.metrics.Mean("gap")])
    assert tracker.get_direction("agreement") == "max"
    assert tracker.get_direction("gap") == "min"
    with pytest.raises(AttributeError):
        MetricsTracker(["accuracy"])


def test_a_metric_is_registered_once():
    tracker = MetricsTracker()
    tracker.register("loss")
    with pytest.raises(ValueError, match="Metric already exists: loss"):
        tracker.register("loss")


def test_an_update_tells_whether_the_best_has_changed():
    tracker = MetricsTracker()
    values = [NAN, NAN, 0.5, 0.5, 0.6, NAN, 0.4]
    changed = [tracker.update("val_accuracy", value, step) for step, value in enumerate(values)]
    assert changed == [True, False, True, False, True, False, False]
    assert tracker.update("val_accuracy", 0.0, step=4)  # the best step's mean falls to 0.3
    assert tracker.get_best_step("val_accuracy") == 2


def test_values_are_kept_as_floats():
    tracker = MetricsTracker()
    for value in (np.float32(0.5), 1, True, np.array(2), keras.ops.convert_to_tensor(3.0)):
        tracker.update("loss", value, step=np.int64(0))
    assert tracker.get_history("loss") == [MetricObservation([0.5, 1.0, 1.0, 2.0, 3.0], 0)]
    assert json.loads(json.dumps(tracker.get_config())) == tracker.get_config()


@pytest.mark.parametrize("value", [np.zeros(3), None, "much", [0.5]])
def test_a_value_that_is_no_number_is_refused_and_leaves_no_trace(value):
    tracker = MetricsTracker()
    with pytest.raises(TypeError, match="one number"):
        tracker.update("f1_score", value)
    assert not tracker.exists("f1_score")


def test_the_accessors_answer_for_the_named_metric():
    tracker = MetricsTracker()
    tracker.update("loss", 2.0, step=0)
    tracker.update("loss", 1.0, step=1)
    tracker.update("loss", 3.0, step=2)
    tracker.set_history("loss", [MetricObservation(4.0, 3)])
    assert tracker.get_best_value("loss") == 1.0
    assert tracker.get_best_step("loss") == 1
    assert tracker.get_last_value("loss") == 4.0
    assert tracker.get_statistics("loss")["mean"] == 2.5
    assert [seen.step for seen in tracker.get_history("loss")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "accessor",
    [
        "get_history",
        "get_best_value",
        "get_best_step",
        "get_statistics",
        "get_last_value",
        "get_direction",
    ],
)
def test_an_unknown_metric_is_refused_with_the_known_ones(accessor):
    tracker = MetricsTracker()
    tracker.register("loss")
    with pytest.raises(ValueError, match=r"Unknown metric: accuracy\. Known: \['loss'\]"):
        getattr(tracker, accessor)("accuracy")


def test_the_history_of_an_unknown_metric_cannot_be_set():
    with pytest.raises(ValueError, match="Unknown metric"):
        MetricsTracker().set_history("loss", [])


def test_a_tracker_returns_from_its_config():
    tracker = MetricsTracker()
    tracker.update("val_auc", 0.5, step=1)
    tracker.register("loss")
    config = tracker.get_config()
    assert config == {
        "metrics": {
            "val_auc": {"direction": "max", "observations": [{"value": [0.5], "step": 1}]},
            "loss": {"direction": "min", "observations": []},
        }
    }
    assert MetricsTracker.from_config(config).get_config() == config
