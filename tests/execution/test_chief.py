"""A chief and its workers: real processes and real HTTP, with what kills either of them."""

import collections
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import keratune
from keratune.base_tuner import BaseTuner
from keratune.errors import FatalRuntimeError, JournalConflictError
from keratune.execution import client, roles, server
from keratune.execution.heart import LEASE, Vigil
from keratune.execution.roles import Role, current_role
from keratune.parameters import Float
from keratune.storage import http as over_http
from keratune.storage.base import Enqueued, StudyOpened
from keratune.storage.http import Connection, HttpStorage
from keratune.storage.memory import MemoryStorage
from keratune.testing import storages as contract

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

SCRIPT = Path(__file__).with_name("chief_script.py")
HOST = "127.0.0.1"


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


# ------------------------------------------------------------------ scripts


class Script:
    """The processes of one script."""

    def __init__(self, folder, kind):
        self.folder, self.kind, self.port = folder, kind, free_port()
        self.processes = {}

    def start(self, *names, **variables):
        for name in names:
            environment = {
                **os.environ,
                **variables,
                "KERASTUNER_TUNER_ID": name,
                "KERASTUNER_ORACLE_IP": HOST,
                "KERASTUNER_ORACLE_PORT": str(self.port),
            }
            with self.output(name).open("ab") as output:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, str(SCRIPT), str(self.folder), self.kind],
                    env=environment,
                    stdout=output,
                    stderr=output,
                )

    def kill(self, name):
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def wait(self, *names):
        """Return the exit codes of processes, all of them by default."""
        return [self.processes[name].wait(timeout=90) for name in names or self.processes]

    def output(self, name):
        return self.folder / f"{name}.out"

    def lines(self, file):
        path = self.folder / file
        return path.read_text().splitlines() if path.exists() else []

    def wait_for_lines(self, file, count):
        until = time.monotonic() + 60
        while len(self.lines(file)) < count:
            assert time.monotonic() < until, self.outputs()
            time.sleep(0.02)

    def outputs(self):
        return "\n".join(f"{n}:\n{self.output(n).read_text()[-2000:]}" for n in self.processes)

    def outcomes(self, *names):
        return [json.loads((self.folder / f"{name}.json").read_text()) for name in names]


@pytest.fixture
def script(tmp_path):
    made = []

    def make(kind):
        made.append(Script(tmp_path, kind))
        return made[-1]

    yield make
    for process in (p for one in made for p in one.processes.values()):
        process.kill()
        process.wait()


EVERYBODY = "chief", "worker0", "worker1"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quick", "stateful"])
def test_a_script_of_kerastuners_runs_as_chief_and_workers_whoever_comes_first(script, kind):
    run = script(kind)
    run.start("worker0", "worker1")
    run.wait_for_lines("started.log", 2)
    run.start("chief")
    assert run.wait() == [0, 0, 0], run.outputs()
    for outcome in run.outcomes(*EVERYBODY):
        assert len(outcome["trials"]) == 6
        assert outcome["left"] == (0 if kind == "quick" else None)
        assert outcome["scores"] == run.outcomes("chief")[0]["scores"]
    assert len(run.lines("trials.log")) == 6
    if kind == "stateful":  # one oracle has seen all trials end
        scores = run.outcomes("chief")[0]["scores"]
        assert [int(score // 100) for score in scores] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_hyperband_trains_on_several_workers(script):
    run = script("hyperband")
    run.start(*EVERYBODY)
    assert run.wait() == [0, 0, 0], run.outputs()
    chief, *workers = run.outcomes(*EVERYBODY)
    assert chief["best"] is not None
    assert all(worker["scores"] == chief["scores"] for worker in workers)
    assert max(outcome["ended"] for outcome in (chief, *workers)) - chief["ended"] < 10


@pytest.mark.slow
def test_a_killed_workers_trial_goes_on_from_its_last_epoch_with_another(script):
    run = script("training")
    run.start("chief", "worker0", TEST_SECONDS="0.3")
    run.wait_for_lines("epochs.log", 3)
    run.start("worker1", TEST_SECONDS="0.3")
    run.kill("worker0")
    assert run.wait("chief", "worker1") == [0, 0], run.outputs()
    last = time.time() - run.outcomes("worker1")[0]["ended"]
    assert last < 10
    trained = collections.Counter(line.split(" ", 1)[1] for line in run.lines("epochs.log"))
    assert len(trained) == 2 * 8
    assert sum(trained.values()) <= 2 * 8 + 1  # at most the epoch that was running is repeated
    [chief] = run.outcomes("chief")
    assert len(chief["trials"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["quick", "stateful"])
def test_workers_go_on_when_a_killed_chief_comes_back(script, kind):
    run = script(kind)
    run.start(*EVERYBODY, TEST_SECONDS="0.5")
    run.wait_for_lines("trials.log", 3)
    run.kill("chief")
    time.sleep(0.7)  # both workers end a trial meanwhile, and have nobody to tell
    run.start("chief", TEST_RESUME="1")
    assert run.wait() == [0, 0, 0], run.outputs()
    for outcome in run.outcomes(*EVERYBODY):
        assert len(outcome["trials"]) == 6
        assert len(outcome["scores"]) == 6
    assert len({line.split()[1] for line in run.lines("trials.log")}) == 6


@pytest.mark.slow
def test_all_processes_raise_what_has_failed_once_too_often(script):
    run = script("failing")
    run.start(*EVERYBODY)
    assert run.wait() == [1, 1, 1]
    for name in EVERYBODY:
        text = run.output(name).read_text()
        assert "Number of consecutive failures exceeded the limit of 3" in text
        assert "the cause of it all" in text
    assert len(run.lines("trials.log")) <= 4  # one may have been begun beside the third


@pytest.mark.slow
def test_a_worker_that_is_asked_to_end_leaves_the_rest_to_another(script):
    run = script("quick")
    run.start("chief", "worker0", TEST_SECONDS="0.3")
    run.wait_for_lines("trials.log", 2)
    run.processes["worker0"].send_signal(signal.SIGTERM)
    run.start("worker1")
    assert run.wait() == [0, 75, 0], run.outputs()
    assert len(run.outcomes("chief")[0]["trials"]) == 6


# ------------------------------------------------------------------ threads of one process


class Threadwise(dict):
    """An environment in which each thread sees variables of its own."""

    def __init__(self, given):
        super().__init__(given)
        self.own = threading.local()

    def _seen(self):
        return {**dict(self), **getattr(self.own, "variables", {})}

    def __getitem__(self, name):
        return self._seen()[name]

    def __contains__(self, name):
        return name in self._seen()

    def get(self, name, default=None):
        return self._seen().get(name, default)


class Quick(BaseTuner):
    def run_trial(self, trial, **kwargs):
        return trial.hyperparameters.Float("x", 0.0, 1.0)


@pytest.fixture
def in_threads(tmp_path, monkeypatch):
    """Run a search by a chief and two workers, and return what each has seen of the trials."""
    environment, port, seen, failures = Threadwise(os.environ), str(free_port()), {}, []
    monkeypatch.setattr(os, "environ", environment)

    def take_part(name, arguments):
        environment.own.variables = {
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": HOST,
            "KERASTUNER_ORACLE_PORT": port,
        }
        try:
            oracle = keratune.oracles.RandomSearchOracle(max_trials=5, seed=0)
            tuner = Quick(oracle, directory=tmp_path, overwrite=True, **arguments)
            tuner.search(verbose=0)
            tuner.search(verbose=0)  # a search that has ended, once more
            seen[name] = len(tuner.oracle.trials)
        except BaseException as error:
            failures.append(error)

    def run(**arguments):
        threads = [threading.Thread(target=take_part, args=(name, arguments)) for name in EVERYBODY]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert not failures
        return seen

    return run


def test_chief_and_workers_may_be_threads_of_one_process(in_threads):
    assert in_threads() == dict.fromkeys(EVERYBODY, 5)


def test_a_budget_ends_the_search_for_everybody(in_threads):
    seen = in_threads(stop=keratune.stop.Target(1.0))
    assert set(seen) == set(EVERYBODY)
    assert len(set(seen.values())) == 1
    assert seen["chief"] < 5


# ------------------------------------------------------------------ roles and tokens


@pytest.fixture
def environment(monkeypatch):
    for name in (roles.HOST, roles.PORT, roles.NAME, roles.TOKEN):
        monkeypatch.delenv(name, raising=False)

    def put(host=None, port=None, name=None, token=None):
        given = {roles.HOST: host, roles.PORT: port, roles.NAME: name, roles.TOKEN: token}
        for variable, value in given.items():
            if value is not None:
                monkeypatch.setenv(variable, value)

    return put


def test_a_missing_variable_is_named(environment):
    assert current_role() is None
    environment(host=HOST)
    with pytest.raises(RuntimeError, match="KERASTUNER_ORACLE_PORT"):
        current_role()
    environment(port="8000")
    with pytest.raises(RuntimeError, match="KERASTUNER_TUNER_ID"):
        current_role()
    environment(name="the-chief")
    assert current_role().leads
    environment(name="worker")
    assert not current_role().leads
    environment(port="eighty")
    with pytest.raises(RuntimeError, match="65535.*'eighty'"):
        current_role()


def test_off_loopback_a_token_is_required_and_never_shown(environment):
    environment("0.0.0.0", "8000", "chief")
    with pytest.raises(RuntimeError, match=r"KERATUNE_TOKEN is not set.*token_urlsafe"):
        current_role()
    environment(token="s3cret")
    assert current_role().token == "s3cret"
    assert "s3cret" not in repr(current_role())


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_told_from_other_addresses(host, loopback):
    assert roles.is_loopback(host) is loopback


# ------------------------------------------------------------------ requests


def oracle_in_memory():
    oracle = keratune.oracles.RandomSearchOracle(max_trials=5)
    oracle.storage, oracle.project_name, oracle.directory = MemoryStorage(), "p", "."
    return oracle


@pytest.fixture
def served():
    """Serve an oracle: `served(token)` returns a function that makes storages of its workers."""
    running, opened = [], []

    def serve(token=None, host=HOST):
        oracle = oracle_in_memory()
        servicer = server.OracleServicer(oracle)
        oracle.study.storage = MemoryStorage()  # an empty one to hand out
        role = Role(True, "chief", host, free_port(), token)
        block = server.serving(servicer, role)
        block.__enter__()
        running.append(block)

        def make(given=token, worker="w"):
            opened.append(HttpStorage(Connection(role.url, given, "p", worker)))
            return opened[-1]

        make.url = role.url
        return make

    yield serve
    for storage in opened:
        storage.close()
    for block in running:
        block.__exit__(None, None, None)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_journal_over_http_keeps_the_contract(check, served):
    check(served())


def test_a_chief_without_the_token_is_not_answered(served):
    make = served("right")
    assert make().read(0) == []
    for token in ("wrong", None):
        with pytest.raises(FatalRuntimeError, match="KERATUNE_TOKEN"):
            make(token).read(0)


def test_an_ipv6_address_serves_too(served):
    try:
        make = served(host="::1")
    except FatalRuntimeError:
        pytest.skip("needs IPv6")
    assert make().read(0) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Host": "localhost"}, 200),
        ({"Content-Type": "application/json", "Host": "[::1]:80"}, 200),
        ({"Content-Type": "application/json", "Host": "[::1]"}, 200),
        ({"Content-Type": "application/json", "Host": "[::1"}, 403),
        ({"Content-Type": "application/json", "Host": "[2001:db8::1]:80"}, 403),
        ({"Content-Type": "application/json", "Host": "evil.example:80"}, 403),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 403),
    ],
)
def test_a_page_in_a_browser_cannot_ask_a_chief_without_a_token(
    served, monkeypatch, headers, status
):
    look_up = socket.getaddrinfo

    def rebound(host, *arguments, **more):  # its owner has the name lead to the reader's machine
        return look_up(HOST if host == "evil.example" else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    body = json.dumps({"study": "p", "worker": "w", "since": 0}).encode()
    request = urllib.request.Request(f"{served().url}/read", body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            assert response.status == status
    except urllib.error.HTTPError as error:
        assert error.code == status


def test_the_name_that_the_chief_was_given_is_one_to_ask_it_under():
    role = Role(True, "chief", "My-Box.local", 8000)
    headers = {"content-type": "application/json", "host": "my-box.local:8000"}
    assert server._refusal(headers, role) is None
    assert server._refusal({**headers, "host": "your-box.local:8000"}, role)[0] == 403


def test_a_large_study_is_read_once_not_once_a_page(served, monkeypatch):
    monkeypatch.setattr(server, "PAGE", 10)
    read = MemoryStorage.read
    lengths = []

    def counted(storage, since, limit=None):
        entries = read(storage, since, limit)
        lengths.append(len(entries))
        return entries

    monkeypatch.setattr(MemoryStorage, "read", counted)
    storage = served()()
    storage.append([contract.OPENED, *[Enqueued({"n": n}) for n in range(99)]], 0)
    lengths.clear()
    assert [entry.sequence for entry in storage.read(0)] == list(range(1, 101))
    assert [entry.sequence for entry in storage.read(5, 25)] == list(range(6, 31))
    assert lengths == [11] * 9 + [10] + [11, 11, 6]


def test_malformed_requests_are_refused_and_harm_nothing(served):
    make = served()
    connection = make().connection
    for path, body in [("read", {}), ("append", {"events": [["X", "{}"]], "seen": 0}), ("no", {})]:
        with pytest.raises(FatalRuntimeError, match=r"refused \(400\)"):
            connection.ask(path, **body)
    assert make().read(0) == []


def test_an_answer_that_was_lost_does_not_write_twice(served, monkeypatch):
    make = served()
    storage = make()
    storage.append([contract.OPENED], 0)
    ask, lost = storage.connection._client.post, []

    def lossy(*args, **kwargs):
        response = ask(*args, **kwargs)
        if not lost:
            lost.append(response)
            raise storage.connection._http.ReadError("gone")
        return response

    monkeypatch.setattr(storage.connection._client, "post", lossy)
    [entry] = storage.append([Enqueued({"x": 1})], 1)
    assert lost and entry.sequence == 2
    assert len(make().read(0)) == 2


def test_a_refused_write_is_not_taken_for_ones_own(served):
    make = served()
    one, other = make(worker="one"), make(worker="other")
    one.append([contract.OPENED], 0)
    one.append([Enqueued({"x": 1})], 1)
    with pytest.raises(JournalConflictError):
        other.append([Enqueued({"x": 1})], 1)


def test_numbers_come_back_to_the_last_bit(served):
    make, number = served(), 0.1 + 0.2
    make().append([StudyOpened("o", 0, {"x": number, "y": 1e-320})], 0)
    [entry] = make().read(0)
    assert entry.event.settings == {"x": number, "y": 1e-320}


def test_many_writers_get_their_turns(served):
    make, written = served(), []

    def write(thread):
        storage = make(worker=str(thread))
        for count in range(10):
            contract.append_until_written(storage, Enqueued({"t": thread, "c": count}))
            written.append(thread)

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 60
    contract.assert_holds(make(), [{"t": t, "c": c} for t in range(6) for c in range(10)])


def test_a_refused_writer_is_not_overtaken(served):
    make = served()
    slow, quick = make(worker="slow"), make(worker="quick")
    slow.append([contract.OPENED], 0)
    quick.append([Enqueued({"x": 0})], 1)
    with pytest.raises(JournalConflictError):
        slow.append([Enqueued({"x": 1})], 1)
    late = threading.Thread(target=lambda: overtaken.append(refused(quick)))
    overtaken = []
    late.start()
    slow.append([Enqueued({"x": 1})], 2)
    late.join()
    assert overtaken == [True]


def refused(storage):
    try:
        storage.append([Enqueued({"x": 2})], 2)
    except JournalConflictError:
        return True
    return False


def test_a_write_behind_a_write_is_one_request(served, monkeypatch):
    storage = served()()
    storage.append([contract.OPENED], 0)
    ask, paths = storage.connection._client.post, []
    monkeypatch.setattr(
        storage.connection._client,
        "post",
        lambda path, **kwargs: (paths.append(path), ask(path, **kwargs))[1],
    )
    with storage.exclusive():
        assert storage.read(1) == []
        storage.append([Enqueued({})], 1)
    assert paths == ["/append"]


def test_a_worker_says_for_whom_it_waits_and_then_gives_up(capsys, monkeypatch):
    monkeypatch.setattr(over_http, "SILENCE", 0.2)
    monkeypatch.setattr(over_http, "PATIENCE", 0.8)
    connection = Connection(f"http://{HOST}:{free_port()}", "s3cret", "p", "w")
    with pytest.raises(FatalRuntimeError, match="No chief could be reached") as raised:
        connection.ask("read", since=0)
    with pytest.raises(FatalRuntimeError, match="No chief"):  # at once: it was looked for enough
        monkeypatch.setattr(over_http, "PATIENCE", 300.0)
        connection.ask("read", since=0)
    told = capsys.readouterr().out
    assert told.count("Waiting for the chief at") == 1
    assert "s3cret" not in told + str(raised.value)


@pytest.fixture
def hanging(monkeypatch):
    """A connection to a chief that takes requests and answers none."""
    monkeypatch.setattr(over_http, "ANSWER", 0.2)
    with socket.create_server((HOST, 0)) as listening:
        connection = Connection(f"http://{HOST}:{listening.getsockname()[1]}", None, "p", "w")
        yield connection
        connection.close()


def test_a_worker_that_is_to_end_does_not_wait_for_a_chief_that_hangs(hanging, monkeypatch):
    monkeypatch.setattr(over_http, "HURRY", 0.3)
    asked_to_end = time.monotonic() + 0.5
    hanging.hurried = lambda: time.monotonic() > asked_to_end
    with pytest.raises(FatalRuntimeError, match="does not answer"):
        hanging.ask("read", since=0)
    assert asked_to_end < time.monotonic() < asked_to_end + 3
    hanging.leave("halted")  # nor does it wait to take its leave
    assert time.monotonic() < asked_to_end + 3


def test_a_worker_that_is_to_end_has_no_minute_for_an_answer(hanging, monkeypatch):
    monkeypatch.setattr(over_http, "ANSWER", 60.0)
    monkeypatch.setattr(over_http, "HURRY", 0.2)
    hanging.hurried = lambda: True
    begun = time.monotonic()
    with pytest.raises(FatalRuntimeError, match="does not answer"):
        hanging.ask("read", since=0)
    assert time.monotonic() < begun + 3


def test_a_chief_that_hangs_is_given_longer_than_one_that_is_away_but_not_for_ever(
    hanging, monkeypatch
):
    monkeypatch.setattr(over_http, "PATIENCE", 0.0)
    monkeypatch.setattr(over_http, "HANGING", 0.8)
    begun = time.monotonic()
    with pytest.raises(FatalRuntimeError, match="has taken no request"):
        hanging.ask("read", since=0)
    assert 0.8 <= time.monotonic() - begun < 5


def test_a_worker_that_is_to_end_does_not_wait_for_a_chief_to_lead_its_study(served, monkeypatch):
    monkeypatch.setattr(over_http, "HURRY", 0.3)
    other = Connection(served().url, None, "another study", "w")
    asked_to_end = time.monotonic() + 0.5
    other.hurried = lambda: time.monotonic() > asked_to_end
    with pytest.raises(FatalRuntimeError, match="it leads 'p', not 'another study'"):
        other.ask("read", since=0)
    assert asked_to_end < time.monotonic() < asked_to_end + 5
    other.close()


def test_a_leave_whose_answer_was_lost_ends(served, monkeypatch):
    monkeypatch.setattr(over_http, "HURRY", 0.3)
    storage = served()()
    storage.append([contract.OPENED], 0)
    connection = storage.connection
    ask, lost = connection._client.post, []

    def lossy(*args, **kwargs):
        response = ask(*args, **kwargs)
        if not lost:
            lost.append(response.status_code)
            raise connection._http.ReadError("gone")
        return response

    monkeypatch.setattr(connection._client, "post", lossy)
    leaving = threading.Thread(target=connection.leave, args=("done",), daemon=True)
    leaving.start()
    leaving.join(timeout=5)
    assert connection.left and lost == [over_http.OK]


def test_the_token_does_not_travel_with_a_pickled_storage(served, monkeypatch):
    make = served("s3cret")
    storage = make()
    storage.append([contract.OPENED], 0)
    text = pickle.dumps(storage)
    assert b"s3cret" not in text
    monkeypatch.setenv("KERATUNE_TOKEN", "s3cret")
    other = pickle.loads(text)
    assert len(other.read(0)) == 1
    other.close()


def test_a_worker_that_has_left_keeps_what_it_knows_and_writes_no_more(served):
    storage = served()()
    storage.append([contract.OPENED], 0)
    storage.connection.leave("done")
    assert storage.read(0) == []
    with pytest.raises(FatalRuntimeError, match="is over"):
        storage.append([Enqueued({})], 1)


def test_a_worker_that_is_silent_is_taken_for_dead():
    now, oracle = [0.0], oracle_in_memory()
    servicer = server.OracleServicer(oracle)
    servicer._vigil = Vigil(lambda: now[0])
    oracle.study.declare([Float("x", 0.0, 1.0)])
    trial = oracle.study.ask("far|1|1|w")
    servicer.answer("beat", {"study": "p", "worker": "far|1|1|w", "about": "far|1|1|w"})
    while now[0] < 2 * LEASE and trial.number in oracle.study.history.running:
        servicer.watch()
        now[0] += 1.0
    assert LEASE <= now[0] < 30
    assert oracle.study.history.queue == [trial.number]
    assert not servicer.present


class Counting(keratune.Oracle):
    given = 0

    def populate_space(self, trial_id):
        self.given += 1
        return {"status": "RUNNING", "values": {"x": self.given}}


def call(servicer, worker, number):
    body = {"study": "p", "worker": worker, "id": number, "method": "create_trial"}
    return servicer.answer("call", {**body, "arguments": {"tuner_id": worker}})[1]["trial_id"]


def test_a_trial_that_a_worker_was_not_told_of_is_its_next_one():
    storage = MemoryStorage()

    def chief():
        oracle = Counting(max_trials=9)
        oracle.storage, oracle.project_name, oracle.directory = storage, "p", "."
        return server.OracleServicer(oracle)

    first = chief()
    trials = [call(first, "a", "1"), call(first, "b", "1"), call(first, "a", "1")]
    assert trials == ["0", "1", "0"]  # the same request once more: its answer was lost
    second = chief()
    assert call(second, "b", "2") == "1"
    assert call(second, "c", "1") == "2"
    second._oracle.study.sync()
    assert sorted(second._oracle.study.history.running) == [0, 1, 2]


def test_a_port_that_is_taken_is_said(served):
    port = int(served().url.rpartition(":")[2])
    with pytest.raises(FatalRuntimeError, match="cannot listen"):
        server.lead(oracle_in_memory(), Role(True, "chief", HOST, port))


def test_the_names_of_kerastuners_distribution_are_there():
    code = (
        "import keratune; keratune.install_as_keras_tuner()\n"
        "from keras_tuner.src.distribute import oracle_chief, oracle_client, utils\n"
        "oracle_chief.OracleServicer, oracle_chief.start_server, oracle_chief.exit_chief\n"
        "oracle_client.OracleClient, oracle_client.TIMEOUT, utils.is_chief_oracle\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert client.TIMEOUT == 300
