"""An interpreter that finds this in its path has a clock that jumps by hours at each look.

The environment variable KERATUNE_CLOCK says by how many seconds at most, forwards or backwards.
"""

import os
import random
import time

_true, _most = time.time, float(os.environ["KERATUNE_CLOCK"])
_rng = random.Random(os.getpid())


def _jumping():
    return _true() + _rng.uniform(-_most, _most)


time.time = _jumping
