"""How far repeated measurements lie apart, and what that says about their means.

Symbols: y_i1 ... y_in are the n_i values of thing i, m_i their mean, s_i^2 their variance with
n_i - 1 degrees of freedom, k the number of things.

- Pooled variance: s^2 = sum (n_i - 1) s_i^2 / sum (n_i - 1).
- Moderated variance (Smyth, 2004, doi:10.2202/1544-6115.1027, equation of s~_g^2): a variance of
  nu degrees of freedom, drawn towards one of nu_0 that similar things had,
  s~^2 = (nu_0 s_0^2 + nu s^2) / (nu_0 + nu), with nu_0 + nu degrees of freedom.
- Shrunken means (Efron and Morris, 1975, doi:10.1080/01621459.1975.10479864, with unequal n_i): the
  means are draws around mu with variance tau^2, so that the expected true mean is
  mu + B_i (m_i - mu), B_i = tau^2 / (tau^2 + s^2 / n_i).
- Noise of a curve (Gasser, Sroka and Jennen-Steinmetz, 1986, doi:10.1093/biomet/73.3.625): a smooth
  curve is straight over three neighbours, so what the middle one lies off their line is noise:
  s^2 = 2/3 mean (y_t - (y_{t-1} + y_{t+1}) / 2)^2. A curve that bends without noise has a second
  difference too, but it does not turn back and forth: of three values of pure noise the middle one
  is the largest or the smallest with probability 2/3 (the turning point test: Kendall and
  Stuart, The Advanced Theory of Statistics, volume 3). Curves that turn less than half as often
  have no noise that can be told.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import stdtrit

# Values of a curve from which its noise can be told: eight have six triples, of which four are
# expected to turn and of which two must.
SHORTEST_CURVE = 8


@dataclasses.dataclass(frozen=True)
class Spread:
    """An estimated variance.

    Attributes:
        variance: The variance of one value.
        freedom: Its degrees of freedom.
    """

    variance: float
    freedom: int

    @property
    def deviation(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.variance)


def student(level: float, freedom: int) -> float:
    """Return the quantile of Student's t distribution.

    Args:
        level: Probability below it, between 0 and 1.
        freedom: Degrees of freedom, 1 or more.
    """
    return float(stdtrit(freedom, level))


def pooled(samples: Iterable[Sequence[float]]) -> Spread | None:
    """Return the variance that samples have around their own means.

    Args:
        samples: Values of one thing each; those of fewer than two values say nothing.

    Returns:
        The spread, None where no sample has two values.
    """
    squares, freedom = 0.0, 0
    for sample in samples:
        if len(sample) > 1:
            squares += float(np.var(sample)) * len(sample)
            freedom += len(sample) - 1
    return Spread(squares / freedom, freedom) if freedom else None


def moderated(own: Spread | None, prior: Spread | None) -> Spread | None:
    """Return a variance drawn towards that of similar things; either may be missing."""
    if own is None or prior is None:
        return own or prior
    freedom = own.freedom + prior.freedom
    variance = (own.variance * own.freedom + prior.variance * prior.freedom) / freedom
    return Spread(variance, freedom)


def shrunken(means: Sequence[float], counts: Sequence[int], within: Spread | None) -> list[float]:
    """Return the expected true means behind measured ones.

    Args:
        means: Measured means.
        counts: How many values each is the mean of.
        within: Spread of the values around their means; None leaves the means as they are.

    Returns:
        One mean for each; where nothing but noise tells the means apart, all are nearly the same,
        and the one of the most values is drawn the least.
    """
    measured, sizes = np.asarray(means, float), np.asarray(counts, float)
    if within is None or len(measured) < 2 or within.variance == 0.0:
        return [float(mean) for mean in measured]
    errors = within.variance / sizes
    between = max(float(np.var(measured, ddof=1)) - float(errors.mean()), 0.0)
    # With tau^2 = 0 all would be equal; the smallest error keeps an order by weight of evidence.
    between = max(between, 1e-3 * float(errors.min()))
    weights = 1.0 / (between + errors)
    centre = float((weights * measured).sum() / weights.sum())
    return [float(m) for m in centre + between / (between + errors) * (measured - centre)]


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided confidence interval of a mean; NaN where there is one value only."""
    if len(values) < 2:
        return math.nan, math.nan
    deviation = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = student(0.5 + level / 2, len(values) - 1) * deviation
    middle = float(np.mean(values))
    return middle - half, middle + half


def curve_noise(curve: Sequence[float]) -> float | None:
    """Return the standard deviation of a curve's values around what is smooth about it.

    Args:
        curve: Values in order, equally far apart.

    Returns:
        The deviation; 0.0 where the curve is smooth, None where it is too short or not finite.
    """
    values = np.asarray(curve, float)
    if len(values) < SHORTEST_CURVE or not np.isfinite(values).all():
        return None
    steps = np.diff(values)
    turning = float((steps[1:] * steps[:-1] < 0).mean())
    if turning < 0.5 * 2 / 3:
        return 0.0
    off = values[1:-1] - (values[2:] + values[:-2]) / 2
    return float(math.sqrt(2 / 3 * float((off**2).mean())))
