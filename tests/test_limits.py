"""Limits on what a model costs: nothing that breaks one is trained, and it costs no trial."""

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import limits
from keratune.errors import FatalValueError
from keratune.execution import worker
from keratune.job import TunersJob
from keratune.model_limits import ModelLimits

X = np.random.default_rng(0).random((32, 4)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) * 0.5).astype("float32")
FIT = {"batch_size": 32, "verbose": 0}


def model_of(units, built=True):
    """A model with 5 * units parameters and 8 * units operations."""
    layers = [keras.layers.Dense(units, kernel_initializer="zeros")]
    model = keras.Sequential([keras.Input((4,)), *layers] if built else layers)
    model.compile("sgd", "mse", run_eagerly=True)
    return model


def sized(hp):
    hp.Float("other", 0.0, 1.0)
    return model_of(hp.Int("units", 1, 64))


def unbuilt(hp):
    """The same, built by its data only."""
    return model_of(hp.Int("units", 1, 64), built=False)


class Quick(kt.HyperModel):
    """Trains nothing, and notes the parameters of what it would have trained."""

    def build(self, hp):
        return sized(hp)

    def fit(self, hp, model, *args, **kwargs):
        Trained.sizes.append(model.count_params())
        return {"loss": abs(hp["units"] - 30) + hp["other"]}


class Trained(keras.callbacks.Callback):
    """Notes the parameters of every model that is trained."""

    sizes: list = []

    def on_train_begin(self, logs=None):
        self.sizes.append(self.model.count_params())


def search(tuner, **arguments):
    Trained.sizes = []
    tuner.search(X, Y, **{**FIT, "callbacks": lambda hp: [Trained()], **arguments})
    return Trained.sizes


def journal(tuner):
    storage = tuner.oracle.study._journal._storage
    return [(type(entry.event).__name__, vars(entry.event)) for entry in storage.read(0)]


@pytest.mark.parametrize("kind", ["RandomSearch", "BayesianOptimization", "GridSearch"])
@pytest.mark.parametrize("build", [sized, unbuilt])
def test_no_model_that_is_too_large_is_trained_and_none_costs_a_trial(kind, build, project):
    tuner = getattr(kt, kind)(
        build, "loss", max_trials=4, seed=0, limits={"params": 100}, **project
    )
    sizes = search(tuner)
    assert len(sizes) == 4 and max(sizes) <= 100
    assert [trial.status for trial in tuner.oracle.trials.values()] == ["COMPLETED"] * 4
    if kind == "GridSearch":  # 64 values of the rate, or of the units, fit
        return
    rejected = tuner.history.rejected
    assert rejected and all(rejection.costs["params"] > 100 for rejection in rejected)
    assert all("params" in rejection.reason for rejection in rejected)


def test_hyperband_gets_all_its_trials(project):
    def brackets(**limits):
        tuner = kt.Hyperband(Quick(), "loss", max_epochs=4, factor=2, seed=0, **project, **limits)
        sizes = search(tuner)
        budgets = [
            trial.hyperparameters.values["tuner/epochs"] for trial in tuner.oracle.trials.values()
        ]
        return max(sizes), sorted(budgets)

    largest, budgets = brackets(limits={"params": 100})
    assert largest <= 100
    project["project_name"] = "free"
    free_largest, free_budgets = brackets()
    assert free_largest > 100
    assert budgets == free_budgets


def test_a_grid_visits_what_fits_and_nothing_else(project):
    def grid(hp):
        units = hp.Choice("units", [40, 10, 50, 20])
        hp.Choice("other", [1, 2])
        return model_of(units)

    tuner = kt.GridSearch(grid, "loss", limits={"params": 150}, **project)
    search(tuner)
    values = [trial.hyperparameters for trial in tuner.oracle.trials.values()]
    assert [(hp["units"], hp["other"]) for hp in values] == [(10, 1), (10, 2), (20, 1), (20, 2)]


# 2 * 4 bytes for weights and gradients, 4 for the inputs, 2.5 * 4 for the results, of 32 samples.
@pytest.mark.parametrize(
    ("limits", "holds"),
    [
        ({"flops": 256}, lambda units: 8 * units <= 256),
        ({"memory": "10 kB"}, lambda units: 40 * units + 32 * (16 + 10 * units) <= 10_000),
    ],
)
def test_operations_and_memory_are_limited_by_what_the_model_says(limits, holds, project):
    tuner = kt.RandomSearch(sized, "loss", max_trials=3, seed=0, limits=limits, **project)
    search(tuner)
    tried = [trial.hyperparameters["units"] for trial in tuner.oracle.trials.values()]
    assert len(tried) == 3 and all(holds(units) for units in tried)
    assert tuner.history.rejected
    assert not any(holds(rejection.values["units"]) for rejection in tuner.history.rejected)


def test_memory_counts_the_batch_size_that_fit_is_called_with(project):
    class Batched(kt.HyperModel):
        def build(self, hp):
            return sized(hp)

        def fit(self, hp, model, *args, **kwargs):
            kwargs["batch_size"] = hp.Choice("batch", [1, 32])
            return model.fit(*args, **kwargs)

    tuner = kt.GridSearch(Batched(), "loss", max_trials=3, limits={"memory": 600}, **project)
    tuner.search(X, Y, **{**FIT, "batch_size": None})
    assert {r.values.get("batch") for r in tuner.history.rejected} <= {32, None}
    assert tuner.history.rejected
    assert {t.hyperparameters["batch"] for t in tuner.oracle.trials.values()} == {1}


def test_latency_is_limited(project):
    tuner = kt.RandomSearch(
        Quick(), "loss", max_trials=1, seed=0, limits={"latency": 60}, **project
    )
    search(tuner)
    assert 0 < tuner.oracle.get_best_trials()[0].metrics.get_best_value("latency") < 60


def test_a_data_set_tells_shape_and_batch_size(project):
    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return X[:8], Y[:8]

    tuner = kt.RandomSearch(
        unbuilt, "loss", max_trials=2, seed=0, limits={"params": 200, "memory": "1MB"}, **project
    )
    tuner.search(Data(), epochs=1, verbose=0)
    assert tuner.history.completed_count == 2


def test_the_journal_holds_the_limits_the_rejected_and_their_costs(project):
    tuner = kt.RandomSearch(
        Quick(), "loss", max_trials=3, seed=1, limits={"params": 100}, **project
    )
    search(tuner)
    events = journal(tuner)
    assert events[0][1]["settings"]["limits"] == {"params": 100.0}
    rejected = [fields for name, fields in events if name == "TrialRejected"]
    assert len(rejected) == len(tuner.history.rejected) > 0
    assert all(fields["costs"]["params"] > 100 for fields in rejected)
    assert rejected[0]["reason"] == f"params {rejected[0]['costs']['params']:.10g} > 100"


def tried(tuner):
    return [
        (trial.trial_id, dict(trial.hyperparameters.values), trial.score)
        for trial in tuner.oracle.trials.values()
    ]


@pytest.mark.parametrize("kind", ["RandomSearch", "BayesianOptimization", "GridSearch"])
def test_a_resumed_search_equals_the_uninterrupted_one(kind, tmp_path):
    def make(name, most):
        return getattr(kt, kind)(
            Quick(),
            "loss",
            max_trials=most,
            seed=1,
            limits={"params": 100},
            directory=tmp_path,
            project_name=name,
        )

    whole = make("whole", 5)
    search(whole)
    for most in (2, 5):
        parts = make("parts", most)
        search(parts)
    assert tried(parts) == tried(whole)
    told = [(r.number, r.values, r.costs) for r in whole.history.rejected]
    assert [(r.number, r.values, r.costs) for r in parts.history.rejected] == told


def test_a_limit_that_nothing_fits_ends_the_search_and_names_the_smallest(project, monkeypatch):
    monkeypatch.setattr(limits, "MOST_REJECTIONS", 10)
    tuner = kt.RandomSearch(Quick(), "loss", seed=0, limits={"params": 4}, **project)
    with pytest.raises(FatalValueError, match=r"10 of them params. The smallest params .* 5\."):
        search(tuner)
    assert Trained.sizes == [] and not tuner.oracle.trials


def test_the_summary_counts_what_was_rejected(project, capsys):
    tuner = kt.RandomSearch(
        Quick(), "loss", max_trials=3, seed=1, limits={"params": 100}, **project
    )
    search(tuner)
    tuner.results_summary()
    assert f"Not trained: {len(tuner.history.rejected)} (params)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "limits", [{"size": 1}, {"params": "8GB"}, {"params": 0}, {"memory": "8 parsecs"}]
)
def test_a_wrong_limit_is_named(limits, project):
    with pytest.raises(ValueError, match=f"Received: .*{next(iter(limits))}"):
        kt.RandomSearch(Quick(), "loss", limits=limits, **project)


def test_sizes_are_read_in_both_kinds_of_units():
    bounds = [
        ModelLimits({"memory": text}).bounds["memory"] for text in ("8GB", "1.5 GiB", "64 kb")
    ]
    assert bounds == [8e9, 1.5 * 2**30, 64e3]


def test_two_workers_share_what_was_rejected(project, tmp_path):
    tuners = [
        kt.RandomSearch(
            Quick(),
            "loss",
            max_trials=4,
            seed=0,
            limits={"params": 100},
            storage=f"sqlite:///{tmp_path}/study.db",
            tuner_id=f"tuner{k}",
            **project,
        )
        for k in range(2)
    ]
    job = [TunersJob(tuner, (X, Y), {}, tuner.tuner_id) for tuner in tuners]
    Trained.sizes = []
    for turn in range(60):
        trial = job[turn % 2].ask()
        if trial.status == "STOPPED":
            break
        worker._run(job[turn % 2], trial, tuners[turn % 2].halt)
    for tuner in tuners:
        tuner.oracle.study.sync()
        assert tuner.history.completed_count == 4
        assert len(tuner.history.rejected) == turn - 4 > 0
    assert len(Trained.sizes) == 4 and max(Trained.sizes) <= 100


def test_what_is_rejected_leaves_no_folder_and_an_enqueued_one_is_said(project, capsys, tmp_path):
    def three(hp):
        return model_of(hp.Choice("units", [1, 2, 60]))

    tuner = kt.GridSearch(three, "loss", limits={"params": 100}, **project)
    tuner.enqueue({"units": 60})
    search(tuner, verbose=1)
    assert "An enqueued configuration is skipped (params 300 > 100)" in capsys.readouterr().out
    folders = sorted(path.name for path in (tmp_path / "project").glob("trial_*"))
    assert folders == [f"trial_{name}" for name in tuner.oracle.trials] and len(folders) == 2
