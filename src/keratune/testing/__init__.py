"""Contract suites for what is plugged in: search algorithms and storages.

Each suite is a module of plain functions `check_...(make)`, which raise AssertionError where a
claim does not hold. Whoever writes an algorithm or a storage runs them all:

```python
import pytest
from keratune.testing import algorithms

@pytest.mark.parametrize("check", algorithms.CHECKS, ids=lambda check: check.__name__)
def test_my_algorithm(check):
    check(MyAlgorithm)
```
"""
