"""Claims about objectives, and about the direction of every metric and loss of Keras."""

from __future__ import annotations

import functools
import inspect
import math
import pickle
import subprocess
import sys

import keras
import pytest

from keratune.objectives import (
    DefaultObjective,
    MultiObjective,
    Objective,
    best_epoch,
    create_objective,
    infer_metric_direction,
)

NAN = math.nan

# These report whatever they are fed; no direction follows from their class.
WITHOUT_DIRECTION = {"Metric", "Mean", "Sum", "MeanTensor", "MeanMetricWrapper"}

# The metrics of which more is better; all others that Keras ships are errors or losses.
LARGER_IS_BETTER = {
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "IoU",
    "MeanIoU",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
}
FUNCTIONS_OF_WHICH_LARGER_IS_BETTER = {
    "binary_accuracy",
    "categorical_accuracy",
    "concordance_correlation",
    "pearson_correlation",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
}

METRIC_CLASSES = sorted(
    name
    for name, _ in inspect.getmembers(keras.metrics, inspect.isclass)
    if name not in WITHOUT_DIRECTION
)
LOSS_CLASSES = sorted(name for name, _ in inspect.getmembers(keras.losses, inspect.isclass))
FUNCTIONS = [
    (module, name)
    for module in (keras.metrics, keras.losses)
    for name, _ in inspect.getmembers(module, inspect.isfunction)
    if name not in {"get", "serialize", "deserialize"}
]
METRIC_ARGUMENTS = {
    "IoU": {"num_classes": 2, "target_class_ids": [0]},
    "MeanIoU": {"num_classes": 2},
    "OneHotIoU": {"num_classes": 2, "target_class_ids": [0]},
    "OneHotMeanIoU": {"num_classes": 2},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
}


def expected_direction(name):
    return "max" if name in LARGER_IS_BETTER else "min"


def make_metric(name):
    return getattr(keras.metrics, name)(**METRIC_ARGUMENTS.get(name, {}))


# --- directions -------------------------------------------------------------------------------


def test_the_table_of_these_tests_names_only_metrics_that_keras_has():
    assert set(METRIC_CLASSES) >= LARGER_IS_BETTER


@pytest.mark.parametrize("name", METRIC_CLASSES)
def test_every_metric_class_of_keras_has_its_direction(name):
    assert infer_metric_direction(getattr(keras.metrics, name)) == expected_direction(name)


@pytest.mark.parametrize("name", METRIC_CLASSES)
def test_every_metric_of_keras_has_its_direction_as_instance_and_under_its_default_name(name):
    metric = make_metric(name)
    assert infer_metric_direction(metric) == expected_direction(name)
    assert infer_metric_direction(metric.name) == expected_direction(name)
    assert infer_metric_direction(f"val_{metric.name}") == expected_direction(name)


@pytest.mark.parametrize("name", METRIC_CLASSES)
def test_every_metric_class_name_is_understood_as_a_name(name):
    assert infer_metric_direction(name) == expected_direction(name)
    assert infer_metric_direction(f"val_{name}") == expected_direction(name)


@pytest.mark.parametrize("name", LOSS_CLASSES)
def test_every_loss_class_of_keras_is_minimised(name):
    assert infer_metric_direction(getattr(keras.losses, name)) == "min"


@pytest.mark.parametrize("name", sorted(set(LOSS_CLASSES) - {"Loss"}))
def test_every_loss_instance_of_keras_is_minimised(name):
    assert infer_metric_direction(getattr(keras.losses, name)()) == "min"


@pytest.mark.parametrize("name", sorted(set(LOSS_CLASSES) - {"Loss", "CosineSimilarity"}))
def test_the_name_of_every_loss_is_minimised(name):
    assert infer_metric_direction(name) == "min"


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_every_function_of_keras_has_its_direction(module, name):
    expected = "max" if name in FUNCTIONS_OF_WHICH_LARGER_IS_BETTER else "min"
    assert infer_metric_direction(getattr(module, name)) == expected
    assert infer_metric_direction(functools.partial(getattr(module, name), axis=-1)) == expected


def test_a_model_reports_what_the_inferred_direction_of_cosine_similarity_says():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    same, opposite = [[1.0, 0.0]], [[-1.0, 0.0]]
    for metric in ("cosine_similarity", keras.losses.cosine_similarity):
        model.compile(loss="mse", metrics=[metric])
        good = model.evaluate(_array(same), _array(same), verbose=0, return_dict=True)
        bad = model.evaluate(_array(same), _array(opposite), verbose=0, return_dict=True)
        rises = good["cosine_similarity"] > bad["cosine_similarity"]
        assert infer_metric_direction(metric) == ("max" if rises else "min")


def _array(rows):
    return keras.ops.convert_to_numpy(rows)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("acc", "max"),
        ("mse", "min"),
        ("mae", "min"),
        ("mape", "min"),
        ("msle", "min"),
        ("rmse", "min"),
        ("bce", "min"),
        ("ce", "min"),
        ("kld", "min"),
        ("crossentropy", "min"),
        ("logcosh", "min"),
        ("iou", "max"),
        ("mean_iou", "max"),
        ("MeanIoU", "max"),
        ("f1", "max"),
        ("f_1", "max"),
        ("r2", "max"),
        ("fbeta_score", "max"),
        ("f_beta_score", "max"),
        ("weighted_accuracy", "max"),
        ("val_weighted_accuracy", "max"),
        ("weighted_val_loss", "min"),
        ("auc_1", "max"),
        ("val_auc_12", "max"),
        ("val_false_positives_2", "min"),
        ("head_accuracy", "max"),
        ("val_head_loss", "min"),
        ("val_left_head_weighted_f1_score_3", "max"),
        ("head_KLDivergence", "min"),
        ("top_5_accuracy", "max"),
        ("cosine_similarity_loss", "min"),
        ("iou_loss", "min"),
        ("dice", "min"),
        ("val_weighted_tversky_1", "min"),
    ],
)
def test_names_are_read_with_their_prefixes_abbreviations_and_numbers(name, direction):
    assert infer_metric_direction(name) == direction


@pytest.mark.parametrize(
    "name",
    ["", "_", "val_", "1", "my_metric", "mean", "sum", "lr", "accuracy_gap", "héllo", "ACCU"],
)
def test_unknown_names_have_no_direction(name):
    assert infer_metric_direction(name) is None


@pytest.mark.parametrize("name", ["neg_mean_squared_error", "one_minus_accuracy", "inverse_loss"])
def test_names_that_turn_a_metric_around_have_no_direction(name):
    assert infer_metric_direction(name) is None


@pytest.mark.parametrize("name", ["head_dice", "soft_dice", "my_tversky"])
def test_names_that_keras_gives_to_losses_and_others_to_scores_are_not_guessed_from_an_ending(name):
    assert infer_metric_direction(name) is None


@pytest.mark.parametrize("name", sorted(WITHOUT_DIRECTION & set(dir(keras.metrics))))
def test_base_classes_have_no_direction(name):
    assert infer_metric_direction(getattr(keras.metrics, name)) is None


@pytest.mark.parametrize("thing", [None, 5, 0.5, object(), [], {"a": 1}, lambda a, b: a, object])
def test_things_that_are_no_metrics_have_no_direction(thing):
    assert infer_metric_direction(thing) is None


def test_a_function_named_like_a_score_is_not_taken_for_the_loss_of_that_name():
    def dice(y_true, y_pred):
        return y_pred

    assert infer_metric_direction(dice) is None
    assert infer_metric_direction(keras.losses.dice) == "min"


def test_a_subclass_of_a_metric_gets_better_as_its_parent_does():
    class Agreement(keras.metrics.F1Score):
        pass

    class Distance(keras.losses.Loss):
        pass

    assert infer_metric_direction(Agreement) == "max"
    assert infer_metric_direction(Agreement(average="macro")) == "max"
    assert infer_metric_direction(Distance) == "min"


def test_a_wrapped_function_decides_for_its_wrapper():
    def my_accuracy(y_true, y_pred):
        return y_pred

    wrap = functools.partial(keras.metrics.MeanMetricWrapper, name="wrapped")
    assert infer_metric_direction(wrap(my_accuracy)) == "max"
    assert infer_metric_direction(wrap(keras.losses.cosine_similarity)) == "min"


def test_a_mean_is_understood_by_the_name_that_it_was_given():
    assert infer_metric_direction(keras.metrics.Mean(name="loss")) == "min"
    assert infer_metric_direction(keras.metrics.Mean(name="accuracy")) == "max"
    assert infer_metric_direction(keras.metrics.Mean()) is None


def test_names_are_understood_without_importing_keras():
    code = (
        "import sys; from keratune.objectives import create_objective; "
        "create_objective('val_head_f1_score'); sys.exit('keras' in sys.modules)"
    )
    path = [entry for entry in sys.path if entry]
    command = f"import sys; sys.path[:0] = {path!r}; {code}"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


# --- one objective ----------------------------------------------------------------------------


def test_an_objective_compares_in_its_direction():
    assert Objective("a", "max").better_than(2, 1)
    assert Objective("a", "min").better_than(1, 2)
    assert not Objective("a", "max").better_than(1, 1)
    assert not Objective("a", "min").better_than(1, 1)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_nan_is_better_than_nothing_and_nothing_is_better_than_nan(direction):
    objective = Objective("a", direction)
    assert not objective.better_than(NAN, 1.0)
    assert not objective.better_than(1.0, NAN)


@pytest.mark.parametrize("direction", ["min", "max"])
def test_any_number_is_better_than_the_worst(direction):
    objective = Objective("a", direction)
    assert objective.better_than(0.0, objective.worst)
    assert objective.to_loss(objective.worst) == math.inf


@pytest.mark.parametrize("direction", ["min", "max"])
def test_to_loss_undoes_itself(direction):
    objective = Objective("a", direction)
    assert objective.to_loss(objective.to_loss(0.25)) == 0.25


def test_an_objective_reads_its_value_from_the_logs():
    objective = Objective("val_loss", "min")
    assert objective.names == ("val_loss",)
    assert objective.has_value({"loss": 1, "val_loss": 2})
    assert not objective.has_value({"loss": 1})
    assert objective.get_value({"loss": 1, "val_loss": 2}) == 2


@pytest.mark.parametrize("direction", ["maximize", "auto", "MAX", "", None, 1])
def test_a_direction_that_is_none_is_refused(direction):
    with pytest.raises(ValueError, match="`direction` should be one of"):
        Objective("a", direction)


def test_objectives_are_equal_by_name_and_direction():
    assert Objective("a", "max") == Objective("a", "max")
    assert Objective("a", "max") != Objective("a", "min")
    assert Objective("a", "max") != Objective("b", "max")
    assert DefaultObjective() == DefaultObjective()
    assert len({Objective("a", "max"), Objective("a", "max"), Objective("a", "min")}) == 2


@pytest.mark.parametrize("foreign", [None, "a", 1, object()])
def test_an_objective_is_unequal_to_foreign_types(foreign):
    assert Objective("a", "max") != foreign
    assert MultiObjective(["loss"]) != foreign


def test_an_objective_shows_name_and_direction():
    text = 'Objective(name="val_loss", direction="min")'
    assert str(Objective("val_loss", "min")) == repr(Objective("val_loss", "min")) == text
    assert str(DefaultObjective()) == 'Objective(name="default_objective", direction="min")'


@pytest.mark.parametrize("argument", [None, "val_auc", ["val_auc", "loss"]])
def test_objectives_survive_pickling(argument):
    objective = create_objective(argument)
    assert pickle.loads(pickle.dumps(objective)) == objective


# --- several objectives -----------------------------------------------------------------------


def multi_objective():
    return MultiObjective([Objective("loss", "min"), Objective("auc", "max")])


def test_a_multi_objective_is_what_falls_less_what_rises():
    assert multi_objective().get_value({"loss": 3.0, "auc": 0.5, "other": 9.0}) == 2.5
    assert multi_objective().direction == "min"


def test_a_multi_objective_needs_all_its_metrics():
    assert multi_objective().names == ("loss", "auc")
    assert multi_objective().has_value({"loss": 3.0, "auc": 0.5})
    assert not multi_objective().has_value({"loss": 3.0})
    with pytest.raises(KeyError, match="auc"):
        multi_objective().get_value({"loss": 3.0})


def test_a_multi_objective_knows_the_direction_of_each_metric():
    assert multi_objective().name_to_direction == {"loss": "min", "auc": "max"}
    assert multi_objective().objectives == [Objective("loss", "min"), Objective("auc", "max")]


def test_multi_objectives_are_equal_in_any_order():
    turned = MultiObjective([Objective("auc", "max"), Objective("loss", "min")])
    assert turned == multi_objective()
    assert hash(turned) == hash(multi_objective())
    assert multi_objective() != MultiObjective([Objective("loss", "min")])
    assert multi_objective() != MultiObjective([Objective("loss", "min"), Objective("auc", "min")])
    assert multi_objective() != Objective("multi_objective", "min")
    assert Objective("multi_objective", "min") != multi_objective()


def test_a_multi_objective_shows_its_parts():
    assert str(multi_objective()) == (
        'MultiObjective(name="multi_objective", direction="min"): '
        '[Objective(name="loss", direction="min"), Objective(name="auc", direction="max")]'
    )


def test_a_multi_objective_may_hold_another():
    nested = create_objective(["loss", ["mae", "auc"]])
    assert nested.names == ("loss", "mae", "auc")
    assert nested.get_value({"loss": 1.0, "mae": 2.0, "auc": 0.5}) == 2.5


def test_a_multi_objective_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one objective"):
        MultiObjective([])


# --- create_objective -------------------------------------------------------------------------


def test_no_objective_means_the_default_one():
    assert create_objective(None) == DefaultObjective()


def test_an_objective_is_returned_as_it_is():
    objective = Objective("anything", "max")
    assert create_objective(objective) is objective


def test_a_name_becomes_an_objective_with_its_direction():
    assert create_objective("val_f1_score") == Objective("val_f1_score", "max")


def test_a_list_becomes_a_multi_objective():
    assert create_objective(["loss", Objective("auc", "max")]) == multi_objective()


def test_an_unknown_name_is_refused_with_the_line_to_write():
    with pytest.raises(ValueError) as error:
        create_objective("my_metric")
    assert str(error.value).startswith(
        'Could not infer optimization direction ("min" or "max") for unknown metric "my_metric".'
    )
    assert 'Objective("my_metric", direction="min")' in str(error.value)


@pytest.mark.parametrize("argument", [5, 0.5, ("loss", "auc"), {"loss": "min"}, Objective])
def test_other_types_are_refused(argument):
    with pytest.raises(TypeError, match="not understood, expected str or `Objective` object"):
        create_objective(argument)


# --- best_epoch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "direction", "epoch"),
    [
        ([0.6, 0.5, 0.4], "min", 2),
        ([0.6, 0.5, 0.4], "max", 0),
        ([0.5, 0.4, 0.4], "min", 1),
        ([0.5, 0.9, 0.9], "max", 1),
        ([NAN, 0.5, 0.4], "min", 2),
        ([NAN, 0.5, 0.4], "max", 1),
        ([0.6, NAN, 0.4], "min", 2),
        ([0.6, NAN], "min", 0),
        ([NAN, math.inf], "min", 1),
        ([NAN, -math.inf], "max", 1),
        ([NAN, NAN], "min", None),
        ([], "max", None),
    ],
)
def test_the_best_epoch_is_the_first_best_number(values, direction, epoch):
    assert best_epoch(values, direction) == epoch


def test_the_best_epoch_has_a_direction():
    with pytest.raises(ValueError, match="`direction` should be one of"):
        best_epoch([0.5], "up")
