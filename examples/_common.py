"""What the examples share: the number of trials, the results directory and the data.

Environment variables:
    KERATUNE_EXAMPLE_TRIALS  how many trials to run instead of the script's own number
    KERATUNE_EXAMPLE_DIR     where results go instead of runs/<name of the script>
    KERATUNE_DATA            the folder that holds diabetes.csv and titanic.csv
"""

import csv
import os
import sys
from pathlib import Path

import numpy as np

DATA_DIRECTORY = Path(__file__).resolve().parents[2] / "shared" / "data"
SOURCES = {
    "diabetes.csv": "the Pima Indians Diabetes Database, with a header line, e.g. from Kaggle",
    "titanic.csv": "https://raw.githubusercontent.com/mwaskom/seaborn-data/master/titanic.csv",
}


def trials(default):
    """How many trials to run: the script's own number, or KERATUNE_EXAMPLE_TRIALS."""
    return int(os.environ.get("KERATUNE_EXAMPLE_TRIALS") or default)


def results_directory():
    """The directory where this script's results go."""
    return os.environ.get("KERATUNE_EXAMPLE_DIR") or str(Path("runs") / Path(sys.argv[0]).stem)


def table_path(name):
    """Where the table is looked for; it need not exist."""
    return Path(os.environ.get("KERATUNE_DATA") or DATA_DIRECTORY) / name


def read_table(name):
    """The rows of a csv file as dictionaries, or a one-line message on how to get the file."""
    path = table_path(name)
    if not path.is_file():
        raise SystemExit(
            f"{name} was not found at {path}. Get it ({SOURCES[name]}) "
            "and set KERATUNE_DATA to the folder that holds it."
        )
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def split(x, y, standardise=False):
    """Shuffled (x, y) pairs for training, validation and test: 60, 20 and 20 per cent."""
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype("float32"), y[order]
    first, second = int(0.6 * len(x)), int(0.8 * len(x))
    if standardise:  # with the training rows only: the others must not leak into them
        x = (x - x[:first].mean(axis=0)) / x[:first].std(axis=0)
    return (
        (x[:first], y[:first]),
        (x[first:second], y[first:second]),
        (x[second:], y[second:]),
    )


def load_pima():
    """Diabetes among 768 Pima women from 8 standardised measurements, split in three."""
    rows = read_table("diabetes.csv")
    table = np.array([[float(value) for value in row.values()] for row in rows])
    return split(table[:, :-1], table[:, -1], standardise=True)


def load_breast_cancer():
    """Benign or malignant for 569 tumours from 30 standardised measurements, split in three."""
    from sklearn.datasets import load_breast_cancer

    return split(*load_breast_cancer(return_X_y=True), standardise=True)


def load_digits():
    """1,797 handwritten digits as (8, 8) images with values in [0, 1], split in three."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return split(digits.images / 16.0, digits.target)
