"""Trained together, models come to what `fit` makes of each of them alone."""

import numpy as np
import pytest
from vectorized_training import (
    DIGITS,
    IMAGES,
    ROWS,
    SERIES,
    X,
    Y,
    assert_alike,
    built,
    cnn,
    custom_step,
    fitted,
    lstm,
    mlp,
    on_jax,
    scheduled,
    seeds,
    two_outputs,
)

families = pytest.importorskip("keratune.vectorized.families")  # needs JAX
fleet = pytest.importorskip("keratune.vectorized.fleet")
members = pytest.importorskip("keratune.vectorized.members")

pytestmark = on_jax

BOTH = {"first": X[:, 0], "second": X[:, 1]}
CASES = {
    "dropout, L2 and batch statistics": (mlp, (X, Y), {"validation_split": 0.3}),
    "class weights": (mlp, (X, Y), {"class_weight": {0: 1.0, 1: 3.0}}),
    "convolutions": (cnn, (IMAGES, DIGITS), {"validation_data": (IMAGES[:9], DIGITS[:9])}),
    "recurrence": (lstm, (SERIES, DIGITS), {"validation_freq": 4, "validation_split": 0.5}),
    "a training step of its own": (custom_step, (X, Y), {}),
    "schedule, clipping, smoothing": (scheduled, (X, Y), {"sample_weight": np.abs(X[:, 0])}),
    "two outputs": (two_outputs, (X, BOTH), {"shuffle": "batch"}),
}


@pytest.mark.parametrize("case", list(CASES))
def test_members_agree_with_fit(case):

    build, data, more = CASES[case]
    kwargs = {**ROWS, **more}
    programs = families.Programs()

    def source():
        for seed in (1, 2, 3):
            given = {**kwargs, "callbacks": [seeds(seed)]}
            yield members.Member(built(build, seed), data, given, tag=seed)

    waiting = source()
    ended = {m.tag: m for m in fleet.train(lambda: next(waiting, None), programs, width=4)}
    assert [m.obstacle or m.error for m in ended.values()] == [None] * 3
    for seed in (1, 3):
        assert_alike(ended[seed], *fitted(build, seed, data, kwargs))
    (family,) = programs._families.values()
    assert len(family.variants) == 1
