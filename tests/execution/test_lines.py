"""Every line of a worker comes out under the name of the trial that it belongs to."""

import io

from keratune.execution.lines import MARK, Lines, Voice, write_mark


def lines(told=None):
    return Lines("Worker 2", (told if told is not None else []).append)


def read(reader, *written):
    return [reader.read(line.encode()) for line in written]


def test_lines_stand_behind_the_trial_between_its_marks():
    shown = read(
        lines(),
        "importing\n",
        f'{MARK}{{"began": "007"}}\n',
        "a\n",
        "\n",
        f'{MARK}{{"ended": "007"}}\n',
        "b\n",
    )
    assert shown == [
        "Worker 2 | importing\n",
        "",
        "Trial 007 | a\n",
        "Trial 007 | \n",
        "",
        "Worker 2 | b\n",
    ]


def test_a_mark_behind_an_unfinished_line_is_a_mark():
    told = []
    reader = lines(told)
    assert read(reader, f'no end{MARK}{{"began": "1"}}\n', "x\n") == [
        "Worker 2 | no end\n",
        "Trial 1 | x\n",
    ]
    assert told == [{"began": "1"}]


def test_of_a_line_that_was_written_over_its_last_state_is_shown():
    assert read(lines(), "10 %\r50 %\r100 %\n", "end\r\n") == [
        "Worker 2 | 100 %\n",
        "Worker 2 | end\n",
    ]


def test_what_is_no_text_is_shown_as_far_as_it_is():
    assert lines().read(b"\xff ok\n") == "Worker 2 | � ok\n"


def test_a_mark_that_was_written_is_read():
    stream, told = io.StringIO(), []
    write_mark(stream, failed="3", kind="error", excerpt="two\nlines")
    assert read(lines(told), stream.getvalue()) == [""]
    assert told == [{"failed": "3", "kind": "error", "excerpt": "two\nlines"}]


def test_the_last_lines_are_kept():
    reader = lines()
    read(reader, *(f"{number}\n" for number in range(100)))
    assert reader.last[-1] == "99" and len(reader.last) < 100


def test_a_mark_that_was_cut_short_is_passed_over():
    told = []
    assert read(lines(told), f'end{MARK}{{"failed": "3", "kind": "er') == ["Worker 2 | end\n"]
    assert told == []


def test_both_streams_of_a_worker_bear_the_trials_name_and_its_marks_are_heard_once():
    voice = Voice("Worker 2")
    began = f'{MARK}{{"began": "1"}}\n'.encode()
    assert voice.read("stdout", began) == ("", [{"began": "1"}])
    assert voice.read("stderr", began) == ("", [])
    assert voice.read("stderr", b"oops\n") == ("Trial 1 | oops\n", [])
    assert voice.read("stdout", b"fine\n") == ("Trial 1 | fine\n", [])
    assert voice.obituary("process 7", "why.") == (
        "Worker 2 (process 7) has died: why. The last that it wrote to standard error:\noops"
    )
