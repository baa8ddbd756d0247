"""Folds: the data of a fit, split for cross-validation.

What is split is a structure of arrays, as Keras takes it: one array or data frame, or a list, a
tuple or a dict of them, nested at will. Every leaf has one entry for each sample.

A number of folds k means that many shuffled ones. Where the targets are classes, the samples are
dealt out class by class, so that a class has the same share in every fold, one sample more or less.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from keratune._random import derived_seed, numpy_seeded, stream
from keratune.errors import FatalTypeError, FatalValueError

Indices = Any  # (n,) array of positions
WAY_OUT = (
    "Data sets and generators cannot be split by position: pass arrays, or write the split "
    "into `HyperModel.fit` and return a list of metrics, one entry for each fold."
)


@dataclasses.dataclass(frozen=True)
class Folds:
    """The arguments of `fit` for each fold. Use `Folds.of`.

    Attributes:
        args: `x`, or `x` and `y`, as far as they were given by position; then what came behind.
        kwargs: The other arguments.
        splits: Positions of training and test samples, fold by fold.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    splits: Sequence[tuple[Indices, Indices]]

    @classmethod
    def of(
        cls, cv: Any, args: Sequence[Any], kwargs: Mapping[str, Any], groups: Any, seed: int
    ) -> Folds:
        """Split the data that `fit` is to be called with.

        Args:
            cv: A number of folds, a splitter with `split(x, y, groups)`, or a list of
                (train, test) positions.
            args: Positional arguments of `fit`: `x`, `y`, `batch_size`, ...
            kwargs: Keyword arguments of `fit`.
            groups: A group for each sample, for splitters that keep groups together, or None.
            seed: Decides the folds wherever `cv` leaves them to chance.

        Raises:
            FatalTypeError: The data, or `cv`, cannot be split by position.
            FatalValueError: Lengths differ, there are too few samples, or validation data are
                given beside `cv`.
        """
        _refuse_validation(args, kwargs)
        x, y = _argument(args, kwargs, 0, "x"), _argument(args, kwargs, 1, "y")
        weights = kwargs.get("sample_weight")
        count = _sample_count({"x": x, "y": y, "sample_weight": weights, "groups": groups})
        splits = list(_splits(cv, x, y, groups, count, seed))
        return cls(tuple(args), kwargs, [_checked(split, count) for split in splits])

    def __len__(self) -> int:
        """Return the number of folds."""
        return len(self.splits)

    def arguments(self, fold: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of `fit` for one fold, with its `validation_data`."""
        train, test = self.splits[fold]
        args = tuple(_take(a, train) if i < 2 else a for i, a in enumerate(self.args))
        kwargs = dict(self.kwargs)
        for name in ("x", "y", "sample_weight"):
            if kwargs.get(name) is not None:
                kwargs[name] = _take(kwargs[name], train)
        x, y = _argument(self.args, self.kwargs, 0, "x"), _argument(self.args, self.kwargs, 1, "y")
        weights = self.kwargs.get("sample_weight")
        held_out = (x, y) if weights is None else (x, y, weights)
        kwargs["validation_data"] = tuple(_take(part, test) for part in held_out)
        return args, kwargs


def listed(cv: Any) -> Any:
    """Return what every trial can be split by: an iterator's pairs, which last for one, listed."""
    return list(cv) if isinstance(cv, Iterator) else cv


def described(cv: Any) -> str | None:
    """Return what tells one `cv` from another, in any process; None where there is none.

    Args:
        cv: As for `Folds.of`, valid or not.

    Example:
        ```python
        described(5)  # "5 folds"
        ```
    """
    if cv is None:
        return None
    if isinstance(cv, Integral):
        return f"{int(cv)} folds"
    if not isinstance(cv, (list, tuple)):
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(cv))  # an address changes by process
    try:
        positions = [[np.asarray(part).tolist() for part in split] for split in cv]
    except (TypeError, ValueError):  # refused when the data are split
        positions = []
    return f"{len(cv)} given folds ({zlib.crc32(repr(positions).encode()):08x})"


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else kwargs.get(name)


def _refuse_validation(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    if kwargs.get("validation_data") is not None or kwargs.get("validation_split"):
        raise FatalValueError(
            "`cv` validates each fold on the samples that it holds out. Received: cv and "
            "`validation_data` or `validation_split`. Pass `cv` alone, with all samples as `x`, "
            "`y`; keep a test set out of the search."
        )
    if len(args) > 5:  # x, y, batch_size, epochs, verbose; then come callbacks and validation data
        raise FatalValueError(
            "With `cv`, the arguments of `fit` behind `verbose` must be given by name. Received: "
            f"{len(args)} arguments by position."
        )


# ------------------------------------------------------------------ data


def _leaves(data: Any, name: str) -> Iterator[Any]:
    """Yield the arrays of a structure; refuse what has no positions."""
    if data is None:
        return
    if isinstance(data, Mapping):
        for key, part in data.items():
            yield from _leaves(part, f"{name}[{key!r}]")
    elif isinstance(data, (list, tuple)):
        if data and not any(_is_leaf(p) or isinstance(p, (list, tuple, Mapping)) for p in data):
            raise FatalTypeError(
                f"`{name}` must be an array, or a list or dict of arrays. Received: a "
                f"{type(data).__name__} of {type(data[0]).__name__}. Pass `numpy.asarray({name})`."
            )
        for place, part in enumerate(data):
            yield from _leaves(part, f"{name}[{place}]")
    elif _is_leaf(data):
        yield data
    else:
        raise FatalTypeError(
            f"`cv` needs data that can be taken by position: `{name}` must be an array or a "
            f"data frame, or a list or dict of them. Received: {type(data).__name__}. {WAY_OUT}"
        )


def _is_leaf(data: Any) -> bool:
    return hasattr(data, "iloc") or len(getattr(data, "shape", ())) > 0


def _sample_count(parts: Mapping[str, Any]) -> int:
    """Return the number of samples, the same in every array.

    Raises:
        FatalValueError: It differs, or there is no data.
    """
    counts: dict[int, str] = {}
    for name, part in parts.items():
        arrays = [np.asarray(part)] if name == "groups" and part is not None else None
        for array in arrays or _leaves(part, name):
            counts.setdefault(int(array.shape[0]), name)
    if len(counts) != 1:
        raise FatalValueError(
            "With `cv`, all data must have one entry for each sample, and there must be some. "
            f"Received lengths: { {name: count for count, name in counts.items()} }."
        )
    return next(iter(counts))


def _take(data: Any, indices: Indices) -> Any:
    """Return the samples at some positions, in the structure that the data have."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        return {key: _take(part, indices) for key, part in data.items()}
    if isinstance(data, (list, tuple)):
        taken = [_take(part, indices) for part in data]
        return taken if isinstance(data, list) else tuple(taken)
    if hasattr(data, "iloc"):
        return data.iloc[indices]
    if type(data).__module__.split(".")[0] == "tensorflow":  # takes no arrays of positions
        return data.numpy()[indices]
    return data[indices]


# ------------------------------------------------------------------ splits


def _splits(cv: Any, x: Any, y: Any, groups: Any, count: int, seed: int) -> Any:
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        return _shuffled(int(cv), _labels(y), count, seed)
    if isinstance(cv, (list, tuple)):
        return cv
    if isinstance(cv, str) or not hasattr(cv, "split"):
        raise FatalTypeError(
            "`cv` must be a number of folds, a splitter with `split(x, y, groups)` such as those "
            "of `sklearn.model_selection`, or a list of (train, test) positions. "
            f"Received: cv={cv!r}."
        )
    first, labels = next(_leaves(x, "x")), _labels(y)
    targets = next(_leaves(y, "y"), None) if labels is None else labels
    given = {} if groups is None else {"groups": groups}
    try:
        with numpy_seeded(derived_seed(seed, "folds")):
            return list(cv.split(first, targets, **given))
    except ValueError as error:
        raise FatalValueError(
            f"`cv` must be able to split the data. Received: cv={cv}, which says: {error} "
            "Pass fewer folds, another splitter or other `groups`."
        ) from error


def _shuffled(folds: int, labels: Any, count: int, seed: int) -> list[tuple[Indices, Indices]]:
    """Return shuffled folds of equal size, one sample more or less; by class where there are any.

    The samples, in a random order and then by class, are dealt out to the folds in turn.
    """
    if not 2 <= folds <= count:
        raise FatalValueError(
            f"`cv` must be 2 or more folds, and at most the number of samples, {count}. "
            f"Received: cv={folds}."
        )
    order = stream(seed, "folds").permutation(count)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    fold_of = np.empty(count, int)
    fold_of[order] = np.arange(count) % folds
    return [
        (np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(folds)
    ]


def _labels(y: Any) -> Any:
    """Return one class for each sample where the targets are classes, else None.

    Classes are whole numbers, booleans or texts in one column, or rows of zeros with one 1. Targets
    of a regression that happen to be whole numbers are dealt out by size, which does no harm.
    """
    leaves = list(_leaves(y, "y"))
    if len(leaves) != 1:
        return None
    values = np.asarray(leaves[0])
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        binary = values.dtype.kind in "biuf" and bool(np.isin(values, (0, 1)).all())
        one_hot = binary and bool((values.sum(axis=1) == 1).all())
        return values.argmax(axis=1) if one_hot else None
    if values.ndim != 1:
        return None
    if values.dtype.kind == "f":
        whole = bool(np.isfinite(values).all() and (values == np.round(values)).all())
        return values if whole else None
    if values.dtype.kind == "O":
        values = values.astype(str)
    return np.unique(values, return_inverse=True)[1] if values.dtype.kind in "biuUS" else None


def _checked(split: Any, count: int) -> tuple[Indices, Indices]:
    """Return the positions of a split, given as positions or as booleans.

    Raises:
        FatalValueError: It is no pair, a part is empty, or a position is none.
    """
    try:
        train, test = (np.asarray(part) for part in split)
    except (TypeError, ValueError) as error:
        raise FatalValueError(
            f"`cv` must hold pairs of positions, (train, test). Received: {split!r}."
        ) from error
    pair = tuple(np.flatnonzero(p) if p.dtype == bool else p for p in (train, test))
    for part in pair:
        if part.size == 0 or part.min() < -count or part.max() >= count:
            raise FatalValueError(
                f"Each part of a fold must hold positions below {count}, the number of samples. "
                f"Received: {part!r}."
            )
    return pair[0], pair[1]
