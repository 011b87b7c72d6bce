"""What the keeper writes down about a process keeps its form: a keeper of another version reads it."""

from __future__ import annotations

import json

from wherry.keeper.process import Description, Exit, Process

#: As the first version wrote it; ``birth`` is the kernel's start time of the process.
PROCESS = (
    '{"key": "c1", "container": "c1", "kind": "container", "terminal": false, "log": null, "pid": 17,'
    ' "birth": 4711, "started": 1700000000000000000, "cgroup": "/wherry/c1"}'
)
EXIT = '{"status": 137, "signal": 9, "at": 1700000000000000001, "log": [2, 300], "oom": true}'


def test_the_record_of_a_process_is_read_and_written_as_ever() -> None:
    description = Description.from_fields(json.loads(PROCESS))
    assert (description.pid, description.start_time, description.cgroup) == (17, 4711, "/wherry/c1")
    assert description.fields() == json.loads(PROCESS)


def test_the_record_of_an_exit_is_read_and_written_as_ever() -> None:
    ended = Exit.from_fields(json.loads(EXIT))
    assert (ended.status, ended.signal, ended.oom, ended.log.segment) == (137, 9, True, 2)
    assert ended.fields() == json.loads(EXIT)


def test_what_a_keeper_hands_over_names_a_process_as_its_record_does() -> None:
    process = Process(Description.from_fields(json.loads(PROCESS)), "/nowhere")
    assert process.state()["description"] == json.loads(PROCESS)
    assert process.summary()["birth"] == 4711
