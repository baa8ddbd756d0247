"""Cross-validation of Keras models: what a fold is, what is kept of it, going on after a crash."""

import keras
import numpy as np
import pytest

import keratune as kt
from keratune.errors import FatalTypeError, FatalValueError
from keratune.training.folds import Folds, described
from keratune.training.jax_cache import compilation_cache

N = 24
X = np.linspace(-1.0, 1.0, 2 * N, dtype="float32").reshape(N, 2)
Y = (X.sum(axis=1, keepdims=True) + 0.1 * np.sin(40 * X[:, :1])).astype("float32")
PLACES = np.arange(N)


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    with compilation_cache(tmp_path_factory.mktemp("compiled")):
        yield


class Splitter:
    """A splitter of a user's own: contiguous thirds; it keeps what it was called with."""

    def split(self, x, y=None, groups=None):
        self.seen = len(x), y is None, groups is None
        for part in np.array_split(PLACES, 3):
            yield np.setdiff1d(PLACES, part), part


THIRDS = [(np.setdiff1d(PLACES, part), part) for part in np.array_split(PLACES, 3)]


class Seen(kt.HyperModel):
    """Trains nothing; keeps the positions that each fold trains and validates on."""

    def __init__(self):
        super().__init__()
        self.folds = []

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, x, y=None, **kwargs):
        self.folds.append((x, y, kwargs))
        return float(len(self.folds))


def linear(hp):
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dropout(0.1), keras.layers.Dense(1, name="out")]
    )
    model.compile(keras.optimizers.Adam(hp.Float("rate", 0.01, 0.2)), "mse")
    return model


def tuner_of(hypermodel, project, cls=kt.RandomSearch, **arguments):
    objective = None if isinstance(hypermodel, Seen) else "val_loss"
    return cls(hypermodel, objective, **{"max_trials": 2, "seed": 0, **project, **arguments})


def split(cv, y=Y, x=X, groups=None, seed=0, **kwargs):
    return Folds.of(cv, (x, y), kwargs, groups, seed)


# What is a fold


@pytest.mark.parametrize(
    "cv",
    [
        3,
        Splitter(),
        THIRDS,
        tuple(THIRDS),
        [(np.isin(PLACES, train), np.isin(PLACES, test)) for train, test in THIRDS],
        iter(THIRDS),
    ],
    ids=["int", "splitter", "pairs", "tuple", "booleans", "iterator"],
)
def test_every_trial_is_trained_on_each_fold_and_validated_on_what_it_holds_out(project, cv):
    model = Seen()
    tuner_of(model, project, checkpoints=False).search(PLACES, Y, cv=cv, epochs=7, verbose=0)
    assert len(model.folds) == 6
    for fold, (x, y, kwargs) in enumerate(model.folds):
        held_out, targets = kwargs["validation_data"]
        assert sorted([*x, *held_out]) == list(PLACES)
        np.testing.assert_array_equal(y, Y[x])
        np.testing.assert_array_equal(targets, Y[held_out])
        assert kwargs["epochs"] == 7
        np.testing.assert_array_equal(x, model.folds[fold % 3][0])  # the same for every trial
    assert sorted(np.concatenate([k["validation_data"][0] for _, _, k in model.folds[:3]])) == (
        list(PLACES)
    )


def test_scikit_learns_splitters_are_taken_and_their_chance_follows_from_the_studys_seed(project):
    selection = pytest.importorskip("sklearn.model_selection")
    model = Seen()
    tuner = tuner_of(model, project, checkpoints=False)
    before = np.random.get_state()[1].tolist()
    tuner.search(PLACES, Y, cv=selection.KFold(4, shuffle=True), verbose=0)
    assert np.random.get_state()[1].tolist() == before
    tests = [kwargs["validation_data"][0].tolist() for _, _, kwargs in model.folds]
    assert tests[:4] == tests[4:]
    assert tests[0] != list(range(6))
    again = split(selection.KFold(4, shuffle=True), x=PLACES)
    assert [test.tolist() for _, test in again.splits] == tests[:4]


def test_groups_stay_together():
    selection = pytest.importorskip("sklearn.model_selection")
    groups = (PLACES % 6).tolist()
    for train, test in split(selection.GroupKFold(3), groups=groups).splits:
        assert not {groups[i] for i in train} & {groups[i] for i in test}


@pytest.mark.parametrize(
    "classes",
    [
        np.repeat([0, 1, 2], [3, 9, 12]),
        np.repeat([0.0, 1.0], [6, 18])[:, None],
        np.repeat([True, False], [9, 15]),
        np.repeat(["cat", "dog"], [9, 15]),
        np.repeat(["cat", "dog"], [9, 15]).astype(object),
        np.eye(3, dtype="float32")[np.repeat([0, 1, 2], [3, 9, 12])],
    ],
    ids=["int", "float", "bool", "str", "object", "one-hot"],
)
def test_a_number_of_folds_is_stratified_by_class(classes):
    flat = classes.argmax(axis=1) if classes.ndim == 2 and classes.shape[1] > 1 else classes.ravel()
    for train, test in split(3, classes).splits:
        assert len(test) == 8
        assert sorted([*train, *test]) == list(PLACES)
        for one in np.unique(flat):
            share = np.sum(flat == one) / 3
            assert np.floor(share) <= np.sum(flat[test] == one) <= np.ceil(share)


def test_folds_of_numbers_are_shuffled_by_the_seed_and_differ_by_one_sample_at_most():
    sizes = [len(test) for _, test in split(5).splits]
    assert sorted(sizes) == [4, 5, 5, 5, 5]
    first = [test.tolist() for _, test in split(5).splits]
    assert first == [test.tolist() for _, test in split(5).splits]
    assert first != [test.tolist() for _, test in split(5, seed=1).splits]
    assert first[0] != list(range(5))


def test_one_hot_classes_are_numbers_for_a_splitter():
    selection = pytest.importorskip("sklearn.model_selection")
    one_hot = np.eye(2)[np.repeat([0, 1], [6, 18])]
    for _, test in split(selection.StratifiedKFold(3), one_hot).splits:
        assert one_hot[test].sum(axis=0).tolist() == [2, 6]


def _frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=["a", "b"], index=np.arange(N) + 100)


@pytest.mark.parametrize(
    "x",
    [
        lambda: X,
        lambda: [X, X[:, :1]],
        lambda: (X, X[:, :1]),
        lambda: {"a": X, "b": [X, X]},
        _frame,
        lambda: keras.ops.convert_to_tensor(X),
    ],
    ids=["array", "list", "tuple", "dict", "frame", "tensor"],
)
def test_data_of_any_structure_are_split_alike(x):
    data, weights = x(), np.arange(N) + 1.0
    folds = Folds.of(THIRDS, (data,), {"y": Y, "sample_weight": weights, "shuffle": False}, None, 0)
    for fold, (train, test) in enumerate(THIRDS):
        (own,), kwargs = folds.arguments(fold)
        held_out, targets, held_out_weights = kwargs.pop("validation_data")
        for taken, places in ((own, train), (held_out, test)):
            assert type(taken) is type(data) or keras.ops.is_tensor(data)
            for leaf, whole in zip(_leaves(taken), _leaves(data), strict=True):
                np.testing.assert_array_equal(np.asarray(leaf), np.asarray(whole)[places])
        np.testing.assert_array_equal(targets, Y[test])
        np.testing.assert_array_equal(held_out_weights, weights[test])
        np.testing.assert_array_equal(kwargs.pop("y"), Y[train])
        np.testing.assert_array_equal(kwargs.pop("sample_weight"), weights[train])
        assert kwargs == {"shuffle": False}


def _leaves(data):
    if isinstance(data, dict):
        return [leaf for part in data.values() for leaf in _leaves(part)]
    if isinstance(data, (list, tuple)):
        return [leaf for part in data for leaf in _leaves(part)]
    return [data]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"cv": 3, "validation_split": 0.2}, FatalValueError, "holds out"),
        ({"cv": 3, "validation_data": (X, Y)}, FatalValueError, "holds out"),
        ({"cv": 1}, FatalValueError, "2 or more folds"),
        ({"cv": N + 1}, FatalValueError, f"at most the number of samples, {N}"),
        ({"cv": "five"}, FatalTypeError, "Received: cv='five'"),
        ({"cv": True}, FatalTypeError, "Received: cv=True"),
        ({"cv": [(PLACES, [N])]}, FatalValueError, f"positions below {N}"),
        ({"cv": [(PLACES, [])]}, FatalValueError, f"positions below {N}"),
        ({"cv": [PLACES]}, FatalValueError, "pairs of positions"),
        ({"cv": 3, "y": Y[1:]}, FatalValueError, "one entry for each sample"),
        ({"cv": 3, "groups": PLACES[1:]}, FatalValueError, "one entry for each sample"),
        ({"cv": 3, "y": Y.ravel().tolist()}, FatalTypeError, "numpy.asarray"),
        ({"cv": 3, "x": (row for row in X)}, FatalTypeError, "HyperModel.fit"),
    ],
)
def test_what_cannot_be_split_is_named_with_the_way_out_before_anything_is_trained(
    project, arguments, error, words
):
    model = Seen()
    tuner = tuner_of(model, project, checkpoints=False)
    with pytest.raises(error, match=words):
        tuner.search(**{"x": X, "y": Y, "verbose": 0, **arguments})
    assert model.folds == []


def test_a_splitter_that_cannot_split_says_why(project):
    selection = pytest.importorskip("sklearn.model_selection")
    with pytest.raises(FatalValueError, match="`cv` must be able to split the data"):
        tuner_of(Seen(), project).search(X, Y, cv=selection.KFold(N + 1), verbose=0)


def test_a_data_set_of_tensorflow_is_refused_with_the_way_out():
    tensorflow = pytest.importorskip("tensorflow")
    with pytest.raises(FatalTypeError, match="Data sets and generators"):
        split(3, None, tensorflow.data.Dataset.from_tensor_slices(X))


# What is kept


def test_the_score_is_the_mean_and_every_folds_is_kept_and_shown(project, capsys):
    tuner = tuner_of(linear, project, max_trials=1)
    tuner.search(X, Y, cv=THIRDS, epochs=2, verbose=1)
    record = tuner.history[0]
    scores = [record.results[fold].metrics["val_loss"] for fold in range(3)]
    assert len(set(scores)) == 3
    assert record.score == pytest.approx(np.mean(scores))
    listed = ", ".join(f"{score:.5g}" for score in scores)
    shown = capsys.readouterr().out
    assert f"({min(scores):.5g} to {max(scores):.5g})" in shown
    tuner.results_summary()
    assert f"mean of {listed}; standard deviation" in capsys.readouterr().out
    tuner_of(linear, project).oracle.get_best_trials()[0].summary()
    assert f"mean of {listed}; standard deviation" in capsys.readouterr().out


def test_the_best_model_is_that_of_the_best_fold(project):
    tuner = tuner_of(linear, project)
    tuner.search(X, Y, cv=THIRDS, epochs=3, verbose=0)
    results = tuner.oracle.record(tuner.oracle.get_best_trials()[0]).results
    best = min(results, key=lambda fold: results[fold].metrics["val_loss"])
    test = THIRDS[best][1]
    loss = tuner.get_best_models()[0].evaluate(X[test], Y[test], verbose=0)
    assert loss == pytest.approx(results[best].metrics["val_loss"], rel=1e-5)


def test_several_executions_repeat_all_folds_from_other_weights(project):
    tuner = tuner_of(linear, project, executions_per_trial=2, max_trials=1)
    tuner.search(X, Y, cv=THIRDS, epochs=1, verbose=0)
    scores = [result.metrics["val_loss"] for result in tuner.history[0].results.values()]
    assert len(scores) == 6
    assert len(set(scores)) == 6


class Interrupted(kt.RandomSearch):
    """Counts trained epochs, and is interrupted behind one of them."""

    epochs, last = 0, None

    def on_epoch_end(self, trial, model, epoch, logs=None):
        type(self).epochs += 1
        if type(self).epochs == self.last:
            raise KeyboardInterrupt


def _told(tuner):
    return [
        (record.values, record.score, record.results, record.curves)
        for record in tuner.history.trials
    ]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="bit-equal on JAX")
@pytest.mark.parametrize("last", [4, 6, 8])  # within fold 1, at its end, within fold 2
def test_a_crash_goes_on_behind_the_last_epoch_of_the_fold_that_was_trained(tmp_path, last):
    fit = {"cv": 3, "epochs": 3, "verbose": 0, "batch_size": 4}

    def search(folder, last):
        Interrupted.epochs, Interrupted.last = 0, last
        project = {"directory": str(tmp_path), "project_name": folder}
        tuner = tuner_of(linear, project, Interrupted, max_trials=1)
        tuner.search(X, Y, **fit)
        return tuner

    whole = search("whole", None)
    with pytest.raises(KeyboardInterrupt):
        search("killed", last)
    again = search("killed", None)
    assert Interrupted.epochs == 9 - (last - 1)  # the interrupted epoch was not told yet
    assert _told(again) == _told(whole)


def test_a_scheduler_decides_on_the_first_fold(project):
    tuner = tuner_of(linear, project, max_trials=4, scheduler="asha")
    tuner.search(X, Y, cv=THIRDS, epochs=9, verbose=0)
    records = tuner.history.trials
    paused = [record for record in records if not record.finished]
    assert paused
    assert all(set(record.curves) == {0} for record in paused)
    whole = [record for record in records if record.status == "COMPLETED"]
    assert whole
    assert all(len(record.results) == 3 and len(record.curves[2]) == 9 for record in whole)


def test_positional_arguments_behind_verbose_are_asked_for_by_name():
    with pytest.raises(FatalValueError, match="by name"):
        Folds.of(3, (X, Y, 8, 2, 0, []), {}, None, 0)
    args, kwargs = Folds.of(3, (X, Y, 8, 2), {}, None, 0).arguments(0)
    assert args[2:] == (8, 2)
    assert set(kwargs) == {"validation_data"}


def test_a_run_trial_of_the_users_own_gets_the_folds_and_may_pass_them_on(project):
    class Own(kt.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            kwargs["batch_size"] = trial.hyperparameters.Choice("batch_size", [4, 8])
            return super().run_trial(trial, *args, **kwargs)

    tuner = tuner_of(linear, project, Own)
    tuner.search(X, Y, cv=3, epochs=1, verbose=0)
    assert all(len(record.results) == 3 for record in tuner.history.trials)


# Another cv


class KilledInFold(kt.RandomSearch):
    """Is interrupted when its second execution begins."""

    def _train(self, trial, execution, *args):
        if execution == 1:
            raise KeyboardInterrupt
        return super()._train(trial, execution, *args)


OTHERS = [5, None, THIRDS[:2], Splitter()]


@pytest.mark.parametrize("cv", OTHERS, ids=["number", "none", "list", "splitter"])
def test_an_interrupted_trial_does_not_go_on_with_other_folds(project, cv):
    with pytest.raises(KeyboardInterrupt):
        tuner_of(linear, project, KilledInFold).search(X, Y, cv=3, epochs=1, verbose=0)
    other = {} if cv is not None else {"validation_split": 0.5}
    with pytest.raises(RuntimeError, match=r"not ended \(0\) were trained with cv: 3 folds"):
        tuner_of(linear, project).search(X, Y, cv=cv, epochs=1, verbose=0, **other)
    tuner = tuner_of(linear, project)
    tuner.search(X, Y, cv=3, epochs=1, verbose=0)
    assert [len(record.results) for record in tuner.history.trials] == [3, 3]


def test_a_search_that_is_extended_with_other_folds_says_so(project, capsys):
    tuner_of(linear, project, max_trials=1).search(X, Y, cv=2, epochs=1, verbose=0)
    tuner = tuner_of(linear, project, max_trials=2)
    tuner.search(X, Y, cv=3, epochs=1, verbose=1)
    assert "`cv` was 2 folds and is 3 folds from now on" in capsys.readouterr().out
    assert [len(record.results) for record in tuner.history.trials] == [2, 3]
    tuner.search(X, Y, cv=3, epochs=1, verbose=1)
    assert "from now on" not in capsys.readouterr().out


@pytest.mark.parametrize("make", [lambda: 3, Splitter, lambda: [(a, list(b)) for a, b in THIRDS]])
def test_the_same_folds_are_described_alike_in_every_process(make):
    assert described(make()) == described(make())
    assert described(make()) not in (described(4), described(THIRDS[:2]), None)


def test_groups_without_cv_are_refused_unless_user_code_may_read_them(project):
    with pytest.raises(ValueError, match="Received: groups without cv"):
        tuner_of(linear, project).search(X, Y, groups=PLACES, epochs=1, verbose=0)
    seen = Seen()
    tuner_of(seen, project).search(X, Y, groups=PLACES, verbose=0)
    assert all("groups" in kwargs for _, _, kwargs in seen.folds)
