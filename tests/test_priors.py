"""Claims about priors: what a user believes about good values, and what that changes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import keratune as kt
from keratune import parameters, priors
from keratune.numerics.beliefs import UNIFORM_PART, Around, Weighted, trust
from keratune.parameters import Boolean, Choice, Fixed, Float, Int
from keratune.space import HyperParameters
from keratune.storage.project_folder import plain_space
from keratune.surrogates import beliefs
from keratune.surrogates.encoding import Encoding


def relu(x):
    return max(x, 0)


def every_kind():
    """Hyperparameters of all kinds, each with a prior."""
    return [
        Float("rate", 1e-5, 1e-1, sampling="log", prior=3e-4),
        Float("momentum", 0.5, 0.99, sampling="reverse_log", prior=kt.Prior(0.9, "strong")),
        Float("dropout", 0.0, 0.5, step=0.1, prior=0.2),
        Int("units", 8, 128, step=8, prior=64),
        Int("batch", 16, 256, step=2, sampling="log", prior=kt.Prior(32, "weak")),
        Int("seed", 2, 30, sampling="log", prior=7),
        Choice("layers", [1, 2, 4, 8], prior=4),
        Choice("width", [16, 32, 64], prior={16: 1, 64: 2}),
        Choice("kernel", [(3, 3), (5, 5), None], prior=(5, 5)),
        Choice("activation", ["tanh", "relu", "gelu"], prior={"relu": 3, "gelu": 1}),
        Boolean("norm", prior=True),
        Boolean("bias", prior={False: 3, True: 1}),
    ]


# The density


@pytest.mark.parametrize("mean", [0.0, 0.3, 0.97])
@pytest.mark.parametrize("deviation", [0.05, 0.2, 0.5])
def test_the_density_of_a_number_integrates_to_one_and_excludes_nothing(mean, deviation):
    belief = Around(mean, deviation)
    middles = (np.arange(20_000) + 0.5) / 20_000
    density = np.exp(belief.log_density(middles))
    assert density.mean() == pytest.approx(1.0, abs=1e-3)
    assert density.min() >= UNIFORM_PART
    assert abs(middles[density.argmax()] - mean) < 1e-3


def test_the_slope_is_the_densitys():
    belief, places, step = Around(0.3, 0.15), np.linspace(0.01, 0.99, 25), 1e-6
    difference = belief.log_density(places + step) - belief.log_density(places - step)
    np.testing.assert_allclose(belief.log_slope(places), difference / (2 * step), atol=1e-5)


@pytest.mark.parametrize("belief", [Around(0.2, 0.1), Around(1.0, 0.3)])
def test_draws_of_a_number_have_its_density(belief):
    drawn = belief.draw((np.arange(50_000) + 0.5) / 50_000)
    assert drawn.min() >= 0.0 and drawn.max() <= 1.0
    counts, edges = np.histogram(drawn, bins=20, range=(0.0, 1.0))
    fine = (np.arange(2000) + 0.5) / 2000
    wanted = np.exp(belief.log_density(fine)).reshape(20, 100).mean(axis=1) / 20
    np.testing.assert_allclose(counts / len(drawn), wanted, atol=2e-3)
    assert len(edges) == 21


def test_draws_of_a_category_have_its_density():
    belief = Weighted((3.0, 0.0, 1.0))
    drawn = belief.draw((np.arange(9000) + 0.5) / 9000)
    shares = np.bincount(drawn, minlength=3) / 9000
    np.testing.assert_allclose(shares, np.exp(belief.log_densities) / 3, atol=1e-3)
    assert shares[1] == pytest.approx(UNIFORM_PART / 3, abs=1e-3)


@pytest.mark.parametrize("parameter", every_kind(), ids=lambda p: p.name)
def test_the_favourite_is_likelier_than_without_the_prior_and_drawn_more_often(parameter):
    chances = (np.arange(2000) + 0.5) / 2000
    favourite = parameter.default
    assert parameter.prior_log_density(favourite) > 0.05
    drawn = [parameter.prior_value(float(chance)) for chance in chances]
    assert all(parameter.contains(value) for value in drawn)
    place = parameter.value_to_prob(favourite)

    def near(values):
        return sum(abs(parameter.value_to_prob(v) - place) < 0.05 for v in values)

    assert near(drawn) > 1.2 * near([parameter.prob_to_value(float(c)) for c in chances])


def test_a_stronger_belief_is_closer():
    drawn = {}
    for strength in ("weak", "medium", "strong"):
        rate = Float("x", 0.0, 1.0, prior=kt.Prior(0.4, strength))
        values = [rate.prior_value(float(c)) for c in (np.arange(500) + 0.5) / 500]
        drawn[strength] = np.std(values)
    assert drawn["strong"] < drawn["medium"] < drawn["weak"]


def test_a_log_scale_believes_in_orders_of_magnitude():
    rate = Float("rate", 1e-5, 1e-1, sampling="log", prior=1e-3)
    assert rate.prior_log_density(1e-4) == pytest.approx(rate.prior_log_density(1e-2))
    assert rate.prior_log_density(1e-3) > rate.prior_log_density(1e-2)


def test_without_a_prior_every_value_is_as_likely_as_before():
    for parameter in (Float("x", 0, 1), Choice("c", ["a", "b"]), Boolean("b"), Fixed("f", 3)):
        assert parameter.prior_log_density(parameter.default) == 0.0
        assert parameter.prior_value(0.3) == parameter.prob_to_value(0.3)


# Defaults and mistakes


def test_the_default_is_the_priors_value_unless_one_is_given():
    assert Float("x", 0, 1, prior=0.3).default == 0.3
    assert Float("x", 0, 1, prior=0.3, default=0.7).default == 0.7
    assert Float("x", 0, 1, step=0.25, prior=0.3).default == 0.25
    assert Int("i", 1, 9, prior=4.0).default == 4
    assert isinstance(Int("i", 1, 9, prior=4.0).default, int)
    assert Choice("c", ["a", "b"], prior="b").default == "b"
    assert Choice("c", ["a", "b"], prior={"a": 1, "b": 2}, default="a").default == "a"
    assert Boolean("b", prior=True).default is True
    assert Boolean("b", prior=False).default is False


@pytest.mark.parametrize(
    "declare",
    [
        lambda hp: hp.Float("x", 0.0, 1.0, prior=2.0),
        lambda hp: hp.Float("x", 0.0, 1.0, prior="high"),
        lambda hp: hp.Float("x", 0.0, 1.0, prior=math.nan),
        lambda hp: hp.Int("x", 1, 9, prior={3: 1}),
        lambda hp: hp.Choice("x", ["a", "b"], prior="c"),
        lambda hp: hp.Choice("x", [1, 2], prior=3),
        lambda hp: hp.Choice("x", ["a", "b"], prior={"c": 1}),
        lambda hp: hp.Boolean("x", prior="yes"),
    ],
)
def test_a_prior_for_a_value_that_may_not_be_taken_is_refused(declare):
    with pytest.raises(ValueError, match="prior"):
        declare(HyperParameters())


def test_a_prior_says_what_it_needs():
    with pytest.raises(ValueError, match="'weak', 'medium', 'strong'.*Received: strength='sure'"):
        kt.Prior(0.1, "sure")
    for weights in ({"a": -1.0}, {"a": 0.0}, {"a": math.inf}, {}):
        with pytest.raises(ValueError, match="finite and not negative"):
            kt.Prior(weights=weights)


# Where it is kept


@pytest.mark.parametrize("parameter", every_kind(), ids=lambda p: p.name)
def test_a_prior_comes_back_from_the_journals_form(parameter):
    stored = json.loads(json.dumps(parameters.serialize(parameter)))
    back = parameters.deserialize(stored)
    assert back.definition() == parameter.definition()
    assert back.default == parameter.default
    for chance in (0.05, 0.4, 0.9):
        assert back.prior_value(chance) == parameter.prior_value(chance)


def test_a_belief_in_a_function_comes_back():
    parameter = Choice("f", [None, relu], prior=relu)
    stored = json.loads(json.dumps(parameters.serialize(parameter)))
    assert parameter.default is relu
    back = parameters.deserialize(stored)
    assert back.prior_log_density(back.default) == parameter.prior_log_density(relu)


def test_configs_without_a_prior_are_kerastuners():
    for parameter in (Float("x", 0, 1), Int("i", 1, 2), Choice("c", ["a"]), Boolean("b")):
        assert "prior" not in parameter.get_config()


def test_files_for_kerastuner_leave_priors_out():
    for stored in plain_space(every_kind()):
        assert "prior" not in stored["config"]
        parameters.deserialize(stored)


def test_the_study_keeps_priors(project):
    def build(hp):
        hp.Float("rate", 1e-5, 1e-1, sampling="log", prior=1e-3)

    class ByHand(kt.Tuner):
        def run_trial(self, trial, **kwargs):
            return trial.hyperparameters["rate"]

    def tuner():
        oracle = kt.oracles.RandomSearchOracle(max_trials=2, seed=0)
        return ByHand(oracle, model_of(build), **project)

    tuner().search()
    again = tuner()
    [rate] = again.oracle.get_space().space
    assert rate.prior == kt.Prior(1e-3)
    assert again.oracle.trials["0"].hyperparameters["rate"] == 1e-3  # the default is the prior's
    [stored] = json.loads((Path(again.project_dir) / "trial_0" / "trial.json").read_text())[
        "hyperparameters"
    ]["space"]
    assert "prior" not in stored["config"]


def model_of(build):
    class Model(kt.HyperModel):
        def build(self, hp):
            return build(hp)

    return Model()


# Whole configurations


def conditional_space():
    hp = HyperParameters()
    hp.Float("rate", 1e-5, 1e-1, sampling="log", prior=1e-3)
    hp.Choice("model", ["cnn", "mlp"], prior="mlp")
    hp.Int("units", 1, 9, parent_name="model", parent_values="mlp", prior=5)
    hp.Choice("filters", [8, 16, 32], parent_name="model", parent_values="cnn", prior={32: 1})
    hp.Float("free", 0.0, 1.0)
    return hp


def test_the_density_of_a_row_is_the_product_over_what_is_active():
    encoding = Encoding(conditional_space())
    rows = beliefs.spread(encoding, np.random.default_rng(0).random((60, len(encoding))))
    configurations = [encoding.decode(row) for row in rows]
    wanted = [
        sum(encoding.space.named(n)[0].prior_log_density(value) for n, value in values.items())
        for values in configurations
    ]
    np.testing.assert_allclose(beliefs.log_prior(encoding, rows), wanted, atol=1e-9)
    assert {values["model"] for values in configurations} == {"cnn", "mlp"}


def test_the_slopes_of_rows_are_those_of_their_density():
    encoding, step = Encoding(conditional_space()), 1e-6
    values = {"rate": 3e-3, "units": 7, "filters": 8, "free": 0.3}
    rows = encoding.encode([{**values, "model": model} for model in ("cnn", "mlp")])
    slopes = beliefs.log_prior_slopes(encoding, rows)
    for j in np.flatnonzero(encoding.categories == 0):
        move = np.zeros(len(encoding))
        move[j] = step
        ahead, behind = (beliefs.log_prior(encoding, rows + by) for by in (move, -move))
        np.testing.assert_allclose(slopes[:, j], (ahead - behind) / (2 * step), atol=1e-4)


def test_evenly_spread_points_become_dense_where_good_values_are_believed_to_be():
    encoding = Encoding(conditional_space())
    points = np.random.default_rng(0).random((4000, len(encoding)))
    rows, plain = beliefs.spread(encoding, points), encoding.spread(points)
    np.testing.assert_array_equal(encoding.snap(rows), rows)
    names = [parameter.name for parameter in encoding.parameters]
    rate, model, free = (names.index(name) for name in ("rate", "model", "free"))
    shares = np.exp(encoding.parameters[model].belief.log_densities) / 2
    assert np.mean(rows[:, model] == 1) == pytest.approx(shares[1], abs=0.03)
    assert np.std(rows[:, rate]) < 0.85 * np.std(plain[:, rate])
    assert (rows[:, free] == plain[:, free]).all()
    log_q = beliefs.log_prior(encoding, rows)
    assert np.mean(np.exp(-log_q)) == pytest.approx(1.0, abs=0.1)  # importance weights


def test_a_space_without_priors_has_a_flat_density():
    space = HyperParameters()
    space.Float("x", 0, 1)
    encoding, points = Encoding(space), np.random.default_rng(0).random((9, 1))
    assert not beliefs.are_held(space) and beliefs.are_held(conditional_space())
    assert not beliefs.log_prior(encoding, points).any()
    assert (beliefs.spread(encoding, points) == encoding.spread(points)).all()
    acquisition = Linear()
    assert beliefs.weighed_in(acquisition, encoding, points, points[:, 0]) is acquisition


class Linear:
    """An acquisition that grows along every coordinate."""

    def __call__(self, rows):
        return rows.sum(axis=1)

    def slopes(self, rows):
        return self(rows), np.ones(rows.shape)


def test_a_belief_has_its_share_in_an_acquisition_and_less_of_it_later():
    encoding = Encoding(conditional_space())
    rows = encoding.spread(np.random.default_rng(0).random((5, len(encoding))))
    for n in (10, 100):
        seen = encoding.spread(np.random.default_rng(1).random((n, len(encoding))))
        agreeing = -beliefs.log_prior(encoding, seen)
        share = beliefs.weighed_in(Linear(), encoding, seen, agreeing)
        wanted = rows.sum(axis=1) + beliefs.BETA / n * beliefs.log_prior(encoding, rows)
        np.testing.assert_allclose(share(rows), wanted)
        values, slopes = share.slopes(rows)
        np.testing.assert_allclose(values, wanted)
        np.testing.assert_allclose(
            slopes, 1.0 + beliefs.BETA / n * beliefs.log_prior_slopes(encoding, rows)
        )


def test_a_belief_that_the_losses_contradict_loses_its_share():
    log_q = np.random.default_rng(0).normal(size=20)
    chance = np.random.default_rng(1).normal(size=20)
    assert trust(log_q, -log_q) == trust(log_q, np.ones(20)) == trust(log_q[:3], log_q[:3]) == 1.0
    shares = [trust(log_q[:n], log_q[:n] + chance[:n]) for n in (6, 12, 20)]
    assert shares[0] > shares[1] > shares[2] and shares[2] < 0.05
    assert trust(log_q, log_q) < 1e-6


# Well-known names


def test_common_priors_are_used_only_when_asked_for():
    def build(hp):
        hp.Float("learning_rate", 1e-5, 1e-1, sampling="log")
        hp.Float("block/dropout_2", 0.0, 0.5)
        hp.Choice("optimizer", ["sgd", "adam"])
        hp.Float("momentum", 0.0, 0.5)
        hp.Float("lr", 1e-5, 1e-1, sampling="log", prior=1e-2)
        hp.Fixed("batch_size", 32)
        hp.Int("units", 8, 64)

    plain, helped = HyperParameters(), HyperParameters()
    helped.builtin_priors = True
    build(plain)
    build(helped)
    assert not any(p.prior for p in plain.space if p.name != "lr")
    found = {p.name: p.prior.favourite for p in helped.space if p.belief is not None}
    assert found == {"learning_rate": 1e-3, "block/dropout_2": 0.3, "optimizer": "adam", "lr": 1e-2}
    assert helped.values["learning_rate"] == 1e-3
    assert helped.copy().builtin_priors


def test_a_tuner_hands_common_priors_to_its_builds(project):
    model = model_of(lambda hp: hp.Float("learning_rate", 1e-5, 1e-1, sampling="log"))

    class ByHand(kt.Tuner):
        def run_trial(self, trial, **kwargs):
            return trial.hyperparameters["learning_rate"]

    oracle = kt.oracles.RandomSearchOracle(max_trials=2, seed=0)
    tuner = ByHand(oracle, model, builtin_priors=True, **project)
    tuner.search(verbose=0)
    assert tuner.oracle.trials["0"].hyperparameters["learning_rate"] == 1e-3


@pytest.mark.parametrize("name", list(priors.COMMON))
def test_every_common_prior_names_its_source(name):
    entry = priors.COMMON[name]
    assert entry.source and priors.common(name) == entry.prior
