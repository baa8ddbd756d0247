"""Ctrl-C and a machine that is wanted for something else: a search ends well and goes on."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import keras
import pytest

from keratune.execution.interrupts import PREEMPTED

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="one backend is enough")

# Epochs of about a second, of 20 batches; says when each begins.
SCRIPT = """
import sys, time
import keras, numpy as np
import keratune as kt

class Slow(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print(f"epoch {epoch} begins", flush=True)
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.05)

def build(hp):
    hp.Float("x", 0.0, 1.0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model

x = np.ones((160, 1), "float32")
tuner = kt.RandomSearch(build, "loss", max_trials=1, seed=0, directory=sys.argv[1],
                        project_name="p", executor=int(sys.argv[2]))
tuner.search(x, x, epochs=6, batch_size=8, callbacks=[Slow()])
record = tuner.history[0]
print("ended", record.status, record.trained, flush=True)
"""


def start(folder, workers=1):
    (folder / "script.py").write_text(textwrap.dedent(SCRIPT))
    # A shell that has started the tests in the background makes their children ignore Ctrl-C.
    unignored = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    run = "runpy.run_path('script.py', run_name='__main__')"
    return subprocess.Popen(
        [sys.executable, "-c", unignored + run, str(folder), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"the process ended without {text!r}")


def finish(process):
    output = process.communicate(timeout=120)[0]
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_finishes_the_epoch_and_the_next_run_goes_on_behind_it(tmp_path, workers):
    process = start(tmp_path, workers)
    read_until(process, "epoch 1 begins")
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    code, output = finish(process)
    assert "the running epoch is finished first" in output and "Run it again" in output
    assert "epoch 2 begins" not in output
    assert code == -signal.SIGINT or "KeyboardInterrupt" in output
    again = start(tmp_path, workers)
    assert "epoch 2 begins" in read_until(again, "begins")
    code, output = finish(again)
    assert code == 0 and "ended COMPLETED 6" in output


@pytest.mark.slow
def test_ctrl_c_twice_stops_at_once(tmp_path):
    process = start(tmp_path)
    read_until(process, "epoch 1 begins")
    os.killpg(process.pid, signal.SIGINT)
    read_until(process, "Interrupted")
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code, output = finish(process)
    assert time.monotonic() - began < 5 and "epoch 2 begins" not in output
    assert code != 0
    again = start(tmp_path)
    assert "epoch 1 begins" in read_until(again, "begins")
    again.kill()
    again.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_preempted_process_ends_before_the_next_batch_with_its_code(tmp_path, number):
    process = start(tmp_path)
    read_until(process, "epoch 1 begins")
    began = time.monotonic()
    process.send_signal(number)
    code, _ = finish(process)
    assert code == PREEMPTED and time.monotonic() - began < 5
    again = start(tmp_path)
    assert "epoch 1 begins" in read_until(again, "begins")
    again.kill()
    again.communicate()
