"""The callback that trains Keras models on PyTorch with as many threads as is quickest.

Only PyTorch can be told at run time. TensorFlow takes the number of its threads when it starts,
which is before the first model is built, and JAX has no such setting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras

from keratune.training.threads import ThreadChoice, torch_on_cpu

# What was measured holds for the process, whatever it trains: its cores are the same.
_CHOICE = ThreadChoice()


class StepThreads(keras.callbacks.Callback):
    """Trains every step on one thread or on all, whichever is quicker, and puts the user's back.

    A callback's own batch hooks would cost time at every step, so the model's step is wrapped
    while `fit` runs. Does nothing on other backends and on accelerators; where the user has set
    the number of threads (see `threads.torch_on_cpu`), during training too; and for steps that
    `jit_compile` has compiled for one number.

    Args:
        choice: Knows what was measured; by default what this process has measured so far.
        clock: Returns seconds.
    """

    def __init__(
        self, choice: ThreadChoice = _CHOICE, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Start outside of any training."""
        super().__init__()
        self.choice = choice
        self.clock = clock
        self._torch: Any = None
        self._step: Any = None  # the model's own, while it is wrapped
        self._usual = self._set = 1

    def on_train_begin(self, logs: Any = None) -> None:
        """Take over the model's step."""
        self.release()
        step = getattr(self.model, "train_function", None)
        if keras.backend.backend() != "torch" or step is None or self.model.jit_compile is True:
            return
        self._torch = torch_on_cpu()
        if self._torch is None or not _is_on_cpu(self.model):
            return
        steps = (self.params or {}).get("steps") or 1  # of equal data: it shrinks as batches grow
        self.choice.enter(self.model.count_params() / steps)
        self._usual = self._set = self._torch.get_num_threads()
        self._step, self.model.train_function = step, self._timed

    def on_train_end(self, logs: Any = None) -> None:
        """Put everything back."""
        self.release()

    def release(self) -> None:
        """Put the model's own step and the user's threads back, for a `fit` that raises as well."""
        if self._step is None:
            return
        self.model.train_function, self._step = self._step, None
        if self._torch.get_num_threads() == self._set:
            self._use(self._usual)

    def _timed(self, *args: Any) -> Any:
        """Run a step, on the threads that are to be measured or are the quickest."""
        step = self._step
        if self._torch.get_num_threads() != self._set:  # the user has set it, and has decided
            self.release()
            return step(*args)
        on_all = self.choice.next()
        self._use(self._usual if on_all else 1)
        began = self.clock()
        logs = step(*args)
        self.choice.took(on_all, self.clock() - began)
        self._use(self._usual if self.choice.on_all else 1)  # validation's too
        return logs

    def _use(self, threads: int) -> None:
        if threads != self._set:
            self._torch.set_num_threads(threads)
            self._set = threads


def _is_on_cpu(model: Any) -> bool:
    return all(str(getattr(v.value, "device", "")) == "cpu" for v in model.variables[:1])
