"""The scikit-learn tuner beside scikit-learn's own cross-validation, and beside KerasTuner's."""

import functools
import subprocess
import sys
import textwrap

import numpy as np
import pytest

pytest.importorskip("sklearn")

import sklearn  # noqa: E402
from scipy import sparse  # noqa: E402
from sklearn import linear_model, metrics, model_selection, neighbors, pipeline  # noqa: E402
from sklearn.compose import TransformedTargetRegressor  # noqa: E402
from sklearn.ensemble import RandomForestClassifier, VotingClassifier  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer  # noqa: E402
from sklearn.preprocessing import FunctionTransformer, StandardScaler  # noqa: E402

import keratune as kt  # noqa: E402
from keratune.errors import FatalTypeError, FatalValueError  # noqa: E402
from keratune.oracles import GridSearchOracle, RandomSearchOracle  # noqa: E402
from keratune.sklearn_tuner import SklearnTuner  # noqa: E402
from keratune.training.sklearn import fit_arguments  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
Y = (X[:, 0] + 0.8 * RNG.normal(size=90) > 0).astype(int)
WEIGHTS = RNG.integers(1, 9, size=90).astype(float)
GROUPS = np.arange(90) % 9
FOLDS = model_selection.KFold(5, shuffle=True, random_state=1)


def logistic(hp):
    return linear_model.LogisticRegression(C=hp.Float("C", 0.01, 10.0, sampling="log"))


def scaled(hp):
    return pipeline.make_pipeline(StandardScaler(), logistic(hp))


def make(project, build, *, max_trials=3, objective="score", **options):
    oracle = RandomSearchOracle(kt.Objective(objective, "max"), max_trials=max_trials, seed=0)
    oracle.verbose = 0
    return SklearnTuner(oracle, build, **{**project, **options})


def folds_of(tuner, trial, name="score"):
    results = tuner.oracle.record(trial).results
    return [results[fold].metrics[name] for fold in sorted(results)]


def assert_scores_equal(tuner, expected):
    """Compare each trial's folds and mean with `expected(hp)`, an array over the folds."""
    trials = list(tuner.oracle.trials.values())
    assert trials
    for trial in trials:
        assert trial.status == "COMPLETED", trial.message
        wanted = expected(trial.hyperparameters)
        np.testing.assert_allclose(folds_of(tuner, trial), wanted, rtol=0, atol=1e-12)
        assert trial.score == pytest.approx(np.mean(wanted), abs=1e-12)


# ------------------------------------------------------------------ beside cross_val_score


def _clusters(hp):
    return neighbors.KNeighborsClassifier(hp.Int("neighbors", 1, 9))


def _regression(hp):
    inner = linear_model.Ridge(hp.Float("alpha", 0.1, 10.0))
    return TransformedTargetRegressor(inner, func=np.log1p, inverse_func=np.expm1)


@pytest.mark.parametrize(
    ("build", "target", "options"),
    [
        (logistic, Y, {}),
        (scaled, Y, {"scoring": "roc_auc"}),
        (scaled, Y, {"cv": 4}),
        (_clusters, Y, {"cv": model_selection.StratifiedKFold(3)}),
        (_clusters, Y, {"cv": [(range(0, 60), range(60, 90)), (range(30, 90), range(30))]}),
        (_regression, np.exp(X[:, 0]), {"cv": 3, "scoring": "neg_mean_absolute_error"}),
    ],
)
def test_scores_are_those_of_cross_val_score(project, build, target, options):
    tuner = make(project, build, **options)
    tuner.search(X, target)
    asked = {"cv": FOLDS, **options}
    assert_scores_equal(
        tuner, lambda hp: model_selection.cross_val_score(build(hp), X, target, **asked)
    )


def test_groups_stay_together(project):
    tuner = make(project, logistic, cv=model_selection.GroupKFold(3))
    tuner.search(X, Y, groups=GROUPS)
    assert_scores_equal(
        tuner,
        lambda hp: model_selection.cross_val_score(
            logistic(hp), X, Y, groups=GROUPS, cv=model_selection.GroupKFold(3)
        ),
    )


def test_weights_are_used_for_fitting_and_scoring(project):
    tuner = make(project, logistic, scoring="accuracy")
    tuner.search(X, Y, sample_weight=WEIGHTS)

    def expected(hp):
        with sklearn.config_context(enable_metadata_routing=True):
            return model_selection.cross_val_score(
                logistic(hp).set_fit_request(sample_weight=True),
                X,
                Y,
                cv=FOLDS,
                scoring=metrics.get_scorer("accuracy").set_score_request(sample_weight=True),
                params={"sample_weight": WEIGHTS},
            )

    assert_scores_equal(tuner, expected)
    unweighted = make({**project, "project_name": "unweighted"}, logistic, scoring="accuracy")
    unweighted.search(X, Y)
    assert folds_of(tuner, tuner.oracle.get_trial("0")) != folds_of(
        unweighted, unweighted.oracle.get_trial("0")
    )


def test_each_step_of_a_pipeline_that_takes_weights_gets_them(project):
    tuner = make(project, scaled, max_trials=1)
    tuner.search(X, Y, sample_weight=WEIGHTS)

    def expected(hp):
        scores = []
        for train, test in FOLDS.split(X, Y):
            model = scaled(hp)
            weights = {
                "standardscaler__sample_weight": WEIGHTS[train],
                "logisticregression__sample_weight": WEIGHTS[train],
            }
            model.fit(X[train], Y[train], **weights)
            scores.append(model.score(X[test], Y[test], sample_weight=WEIGHTS[test]))
        return scores

    assert_scores_equal(tuner, expected)


def test_whole_weights_count_as_repeated_samples():
    hp = kt.HyperParameters()
    repeated = np.repeat(np.arange(90), WEIGHTS.astype(int))
    weighted = scaled(hp).fit(X, Y, **fit_arguments(scaled(hp), WEIGHTS))
    plain = scaled(hp).fit(X[repeated], Y[repeated])
    np.testing.assert_allclose(weighted[-1].coef_, plain[-1].coef_, rtol=1e-3)


def test_weights_reach_nested_estimators():
    logit = linear_model.LogisticRegression()
    pipe = pipeline.Pipeline([("a", "passthrough"), ("b", scaled(kt.HyperParameters()))])
    search = model_selection.GridSearchCV(pipe, {})
    inner = ["b__standardscaler__sample_weight", "b__logisticregression__sample_weight"]
    assert list(fit_arguments(pipe, WEIGHTS)) == inner
    assert list(fit_arguments(search, WEIGHTS)) == inner
    assert list(fit_arguments(VotingClassifier([("l", logit)]), WEIGHTS)) == ["sample_weight"]
    assert fit_arguments(logit, None) == {}
    search.fit(X, Y, **fit_arguments(search, WEIGHTS))


def test_metadata_routing_decides_where_it_is_switched_on(project):
    def build(hp):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = logistic(hp).set_fit_request(sample_weight=True)
        return pipeline.make_pipeline(scaler, model.set_score_request(sample_weight=True))

    with sklearn.config_context(enable_metadata_routing=True):
        tuner = make(project, build, max_trials=1)
        tuner.search(X, Y, sample_weight=WEIGHTS)
        assert_scores_equal(
            tuner,
            lambda hp: model_selection.cross_val_score(
                build(hp), X, Y, cv=FOLDS, params={"sample_weight": WEIGHTS}
            ),
        )


def test_who_takes_no_weights_is_fitted_without_them_and_says_so(project):
    tuner = make(project, _clusters, max_trials=1)
    with pytest.warns(UserWarning, match="KNeighborsClassifier.fit` takes no `sample_weight`"):
        tuner.search(X, Y, sample_weight=WEIGHTS)
    assert tuner.oracle.get_trial("0").status == "COMPLETED"


# ------------------------------------------------------------------ kinds of data


@functools.cache
def _plain_folds():
    hp = kt.HyperParameters()
    return [
        logistic(hp).fit(X[train], Y[train], WEIGHTS[train]).score(X[test], Y[test], WEIGHTS[test])
        for train, test in FOLDS.split(X, Y)
    ]


def _shuffled_pandas():
    pd = pytest.importorskip("pandas")
    labels = np.random.default_rng(1).permutation(90)
    frame = pd.DataFrame(X, index=labels, columns=list("abcd"))
    return frame, pd.Series(Y, index=labels), pd.Series(WEIGHTS, index=labels[::-1])


@pytest.mark.parametrize(
    "data",
    [
        _shuffled_pandas,
        lambda: (X.tolist(), Y.tolist(), WEIGHTS.tolist()),
        lambda: (X, Y.tolist(), WEIGHTS),
    ],
    ids=["pandas with shuffled labels", "lists", "mixed"],
)
def test_samples_are_taken_by_position_whatever_holds_them(project, data):
    features, target, weights = data()
    tuner = make(project, logistic, max_trials=1)
    tuner.search(features, target, sample_weight=weights)
    assert tuner.oracle.get_trial("0").status == "COMPLETED"
    np.testing.assert_allclose(
        folds_of(tuner, tuner.oracle.get_trial("0")), _plain_folds(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.coo_array, sparse.dia_matrix])
def test_sparse_features_are_folded(project, kind):
    tuner = make(project, logistic, max_trials=1)
    tuner.search(kind(X), Y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(
        folds_of(tuner, tuner.oracle.get_trial("0")), _plain_folds(), atol=1e-3
    )


def test_lists_of_texts_go_through_a_pipeline(project):
    texts = ["good day", "bad night", "good night", "bad day", "good", "bad"] * 5
    labels = ["good" if "good" in text else "bad" for text in texts]

    def build(hp):
        return pipeline.make_pipeline(CountVectorizer(), logistic(hp))

    tuner = make(project, build, max_trials=2)
    tuner.search(texts, labels)
    assert_scores_equal(
        tuner, lambda hp: model_selection.cross_val_score(build(hp), texts, labels, cv=FOLDS)
    )


def test_what_is_no_data_is_refused_at_once(project):
    tuner = make(project, logistic)
    with pytest.raises(FatalTypeError, match="Expected the data to be numpy"):
        tuner.search((row for row in X), Y)
    with pytest.raises(FatalValueError, match=r"one entry for each sample.*\[90, 89\]"):
        tuner.search(X, Y[:-1])


# ------------------------------------------------------------------ scoring and metrics


def test_metrics_are_recorded_fold_by_fold_beside_the_score(project):
    macro = functools.partial(metrics.f1_score, average="macro")
    tuner = make(
        project, logistic, metrics=[metrics.accuracy_score, macro, "roc_auc"], max_trials=1
    )
    tuner.search(X, Y)
    trial = tuner.oracle.get_trial("0")
    assert set(trial.metrics.metrics) == {"score", "accuracy_score", "f1_score", "roc_auc"}
    wanted = model_selection.cross_validate(
        logistic(trial.hyperparameters), X, Y, cv=FOLDS, scoring=["f1_macro", "roc_auc"]
    )
    np.testing.assert_allclose(folds_of(tuner, trial, "f1_score"), wanted["test_f1_macro"])
    np.testing.assert_allclose(folds_of(tuner, trial, "roc_auc"), wanted["test_roc_auc"])
    [observation] = trial.metrics.get_history("accuracy_score")
    assert observation.value == folds_of(tuner, trial)
    assert (observation.step, trial.best_step) == (0, 0)


def test_a_metric_can_be_the_objective(project):
    tuner = make(project, logistic, metrics=metrics.f1_score, objective="f1_score", max_trials=2)
    tuner.search(X, Y)
    best = tuner.oracle.get_best_trials()[0]
    assert best.score == np.mean(folds_of(tuner, best, "f1_score"))


def test_a_function_scores_with_the_weights_it_asks_for(project):
    seen = []

    def scoring(model, X, y, sample_weight):
        seen.append(sample_weight)
        return float(len(seen))

    tuner = make(project, logistic, scoring=scoring, max_trials=1)
    tuner.search(X, Y)
    assert seen == [None] * 5 and tuner.oracle.get_trial("0").score == 3.0
    plain = make(
        {**project, "project_name": "plain"}, logistic, scoring=lambda model, X, y: 2.0, cv=2
    )
    plain.search(X, Y, sample_weight=WEIGHTS)
    assert plain.oracle.get_trial("0").score == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "acuracy"}, "acuracy"),
        ({"metrics": ["acuracy"]}, "acuracy"),
        ({"cv": "five"}, "cv"),
        ({"metrics": [metrics.f1_score, metrics.f1_score]}, "different names"),
        ({"metrics": [lambda y, p: 1.0, lambda y, p: 2.0]}, "different names"),
    ],
)
def test_a_mistake_in_the_arguments_is_refused_before_the_search(project, options, message):
    with pytest.raises(ValueError, match=message):
        make(project, logistic, **options)


@pytest.mark.parametrize(
    ("build", "options", "error", "message"),
    [
        (lambda hp: "estimator", {}, FatalTypeError, "object with `fit`. Received: estimator"),
        (lambda hp: StandardScaler(), {}, FatalTypeError, "`scoring` must be given"),
        (logistic, {"cv": 200}, FatalValueError, "`cv` must be able to split"),
        (logistic, {"cv": model_selection.GroupKFold(3)}, FatalValueError, "groups"),
        (logistic, {"objective": "f1"}, FatalValueError, "Received: .'score'."),
    ],
)
def test_a_mistake_that_each_trial_would_repeat_ends_the_search(
    project, build, options, error, message
):
    tuner = make(project, build, **options)
    with pytest.raises(error, match=message):
        tuner.search(X, Y)


def test_a_trial_that_raises_fails_and_the_search_goes_on(project):
    def build(hp):
        return linear_model.LogisticRegression(C=hp.Choice("C", [1.0, -1.0, 2.0]))

    oracle = GridSearchOracle(kt.Objective("score", "max"))
    oracle.verbose = 0
    tuner = SklearnTuner(oracle, build, **project)
    tuner.search(X, Y)
    failed = [t for t in oracle.trials.values() if t.status == "FAILED"]
    assert len(oracle.trials) == 3
    assert [t.hyperparameters.values["C"] for t in failed] == [-1.0]
    assert "InvalidParameterError" in failed[0].message


# ------------------------------------------------------------------ models and projects


def test_the_best_model_is_fitted_to_all_data(project):
    tuner = make(project, scaled)
    tuner.search(X, Y, sample_weight=WEIGHTS)
    [model] = tuner.get_best_models()
    [hp] = tuner.get_best_hyperparameters()
    wanted = scaled(hp).fit(X, Y, **fit_arguments(scaled(hp), WEIGHTS))
    np.testing.assert_allclose(model[-1].coef_, wanted[-1].coef_, rtol=0, atol=1e-12)
    assert model[0].n_samples_seen_ == pytest.approx(WEIGHTS.sum())


@pytest.mark.parametrize("keep", [0, 2])
def test_the_best_models_alone_stay_on_disk(project, own_folder, keep):
    tuner = make(project, logistic, max_trials=6, checkpoints=kt.Checkpoints(keep=keep))
    tuner.search(X, Y)
    kept = {file.parent.name for file in own_folder.rglob("model.pickle")}
    assert kept == {f"trial_{t.trial_id}" for t in tuner.oracle.get_best_trials(keep)}
    assert len(tuner.get_best_models(keep)) == keep
    with pytest.raises(FileNotFoundError, match="only the best trials keep theirs"):
        tuner.get_best_models(6)


def test_models_that_a_killed_process_left_are_deleted_when_the_project_is_continued(
    project, own_folder
):
    make(project, logistic, checkpoints=1).search(X, Y)
    [best] = own_folder.rglob("model.pickle")
    for folder in best.parent.parent.glob("trial_*"):
        (folder / "model.pickle").write_bytes(best.read_bytes())
    make(project, logistic, checkpoints=1)
    assert list(own_folder.rglob("model.pickle")) == [best]


def test_a_model_with_a_lambda_is_kept_and_one_that_cannot_be_pickled_is_told_of(project):
    def build(hp):
        return pipeline.make_pipeline(FunctionTransformer(lambda x: 2 * x), logistic(hp))

    tuner = make(project, build, max_trials=1)
    tuner.search(X, Y)
    assert tuner.get_best_models()[0].predict(X).shape == (90,)
    with pytest.warns(UserWarning, match="trial 0 is not kept"):
        tuner.save_model("0", sys.stdout)


def test_hypermodel_fit_is_used(project):
    class Weighted(kt.HyperModel):
        def build(self, hp):
            return logistic(hp)

        def fit(self, hp, model, X, y):
            return model.fit(X, y, sample_weight=np.where(y, hp.Float("positive", 1.0, 9.0), 1.0))

    tuner = make(project, Weighted(), max_trials=2)
    tuner.search(X, Y)
    assert all("positive" in t.hyperparameters.values for t in tuner.oracle.trials.values())


def test_estimators_without_a_random_state_are_repeatable_and_numpys_state_is_left_alone(project):
    def build(hp):
        return RandomForestClassifier(n_estimators=3, max_depth=hp.Int("depth", 1, 9))

    scores = []
    for name in "ab":
        tuner = make({**project, "project_name": name}, build, cv=model_selection.ShuffleSplit(3))
        before = np.random.get_state()[1].tolist()
        tuner.search(X, Y)
        assert np.random.get_state()[1].tolist() == before
        scores.append([folds_of(tuner, t) for t in tuner.oracle.trials.values()])
    assert scores[0] == scores[1]


def test_an_interrupted_search_repeats_no_finished_fold(project):
    fits = []

    class Interrupted(kt.HyperModel):
        def build(self, hp):
            return logistic(hp)

        def fit(self, hp, model, X, y):
            fits.append(len(fits))
            if len(fits) == 4:
                raise KeyboardInterrupt
            return model.fit(X, y)

    with pytest.raises(KeyboardInterrupt):
        make(project, Interrupted(), max_trials=1).search(X, Y)
    tuner = make(project, Interrupted(), max_trials=1)
    tuner.search(X, Y)
    assert len(fits) == 4 + 2 + 1  # three folds and the interrupted one, two folds, all data
    assert_scores_equal(
        tuner, lambda hp: model_selection.cross_val_score(logistic(hp), X, Y, cv=FOLDS)
    )


def test_a_subclass_may_run_trials_its_own_way(project):
    class Constant(SklearnTuner):
        def run_trial(self, trial, X, y, sample_weight=None, groups=None):
            return {"score": trial.hyperparameters.Float("C", 0.01, 10.0)}

    oracle = RandomSearchOracle(kt.Objective("score", "max"), max_trials=3, seed=0)
    tuner = Constant(oracle, logistic, **project)
    tuner.search(X, Y, verbose=0)
    assert len(oracle.trials) == 3


def test_without_scikit_learn_the_way_out_is_told():
    script = """
        import sys
        sys.modules["sklearn"] = None
        import keratune
        from keratune.sklearn_tuner import SklearnTuner
        oracle = keratune.oracles.RandomSearchOracle(keratune.Objective("score", "max"))
        try:
            SklearnTuner(oracle, lambda hp: None)
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "Please install sklearn before using the `SklearnTuner`" in done.stdout
    assert 'pip install "keratune[sklearn]"' in done.stdout


# ------------------------------------------------------------------ beside KerasTuner


@pytest.fixture
def peer():
    return pytest.importorskip("keras_tuner")


def peers_tuner(peer, project, build, max_trials=3):
    oracle = peer.oracles.RandomSearchOracle(
        peer.Objective("score", "max"), max_trials=max_trials, seed=0
    )
    return peer.SklearnTuner(oracle, build, **project)


def test_kerastuner_opens_the_folder_and_loads_the_models(project, peer):
    ours = make(project, scaled)
    ours.search(X, Y)
    theirs = peers_tuner(peer, project, scaled)
    assert {id_: t.score for id_, t in theirs.oracle.trials.items()} == {
        id_: pytest.approx(t.score) for id_, t in ours.oracle.trials.items()
    }
    best, same = ours.get_best_models()[0], theirs.get_best_models()[0]
    np.testing.assert_array_equal(best.predict_proba(X), same.predict_proba(X))


def test_a_folder_of_kerastuners_is_continued(project, peer):
    theirs = peers_tuner(peer, project, scaled, max_trials=2)
    theirs.search(X, Y, sample_weight=None)
    ours = make(project, scaled, max_trials=4, checkpoints=1)
    assert [t.score for t in ours.oracle.trials.values()] == pytest.approx(
        [t.score for t in theirs.oracle.trials.values()]
    )
    best, same = ours.get_best_models()[0], theirs.get_best_models()[0]
    np.testing.assert_array_equal(best.predict_proba(X), same.predict_proba(X))
    ours.search(X, Y)
    assert len(ours.oracle.trials) == 4
    for trial in theirs.oracle.trials.values():
        assert theirs.load_model(trial).predict(X).shape == (90,)  # theirs are not deleted


def test_unweighted_scores_are_kerastuners(project, peer):
    def build(hp):
        return linear_model.LogisticRegression(C=hp.Choice("C", [0.01, 0.1, 1.0]))

    ours = SklearnTuner(
        GridSearchOracle(kt.Objective("score", "max")), build, **{**project, "project_name": "a"}
    )
    theirs = peer.SklearnTuner(
        peer.oracles.GridSearchOracle(peer.Objective("score", "max")),
        build,
        **{**project, "project_name": "b"},
    )
    ours.search(X, Y, verbose=0)
    theirs.search(X, Y)
    scores = [
        {t.hyperparameters.values["C"]: t.score for t in tuner.oracle.trials.values()}
        for tuner in (ours, theirs)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-12)
