"""Verb by verb, wherry prints what the stock docker command prints about the same daemon."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import needs
from support.daemons import Daemon
from wherry.cli.completion.values import FILTERS

_OLDEST = 28  # the words, columns and help of older clients differ


def _client_is_recent() -> bool:
    command = needs.program("docker")
    if command is None:
        return True  # then the need says so
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)", told)
    return found is not None and int(found.group(1)) >= _OLDEST


pytestmark = [
    pytest.mark.need("root"),
    pytest.mark.need("docker"),
    pytest.mark.skipif(not _client_is_recent(), reason=f"compares with the docker command, version {_OLDEST} or later"),
]

COMMANDS = r"""
ps
ps -a
ps -aq
ps -a --no-trunc
ps -n 1
ps -l
ps -a --filter status=exited
ps -a -f name=v -f label=a
ps -a -f foo
ps -a --format "{{.ID}} {{.Names}} {{.Label \"a\"}} {{.Labels}} {{.Image}} {{.Command}} {{.State}} {{.Ports}}"
ps -a --format "{{.Mounts}} {{.Networks}} {{.CreatedAt}} {{.LocalVolumes}} {{.Size}}"
ps -a --format "table {{.ID}}\t{{.Names}}\t{{.Label \"a\"}}"
ps -a --format "table {{.Names | upper}}"
ps -a --format "{{.ID"
ps extra
images busybox
images -q busybox
images --no-trunc busybox
images --digests busybox
images nosuch
images --format "{{.Repository}}:{{.Tag}} {{.ID}} {{.CreatedAt}} {{.Size}} {{.Digest}}" busybox
images --format "table {{.Repository}}\t{{.Size}}" busybox
inspect v1
inspect v1 v3 -f "{{.Name}} {{.State.Status}} {{.State.ExitCode}} {{json .Config.Cmd}} {{.Config.Env}}"
inspect -f "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.MacAddress}}|{{end}}" v1
inspect -f "{{.Config.Labels}} {{index .Config.Labels \"a\"}} {{with .State}}{{.Running}}{{end}}" v1
inspect -f "{{.Config.Labels.nope}} {{.NetworkSettings.Networks.nope.IPAddress}}" v1
inspect -f "{{index .Config.Labels \"nope\"}}|{{eq (index .Config.Labels \"nope\") \"\"}}" v1
inspect -f "{{.HostConfig.Binds}} {{.HostConfig.CapAdd}} {{len .Config.Entrypoint}} {{.Config.Volumes}}" v1
inspect -f "{{.State.Health}} {{.HostConfig.MemorySwappiness}} {{if .State.Health}}healthy{{end}}" v1
inspect -f "{{.HostConfig.Annotations.x}} {{json .Config.Volumes}} {{.HostConfig.LogConfig.Config.x}}" v1
inspect -f "{{.Config.Labels.nope}} {{.Config.ExposedPorts}}" busybox
inspect -f "{{" v1
inspect -f "{{.Nothing}}" v1
inspect --type image busybox
inspect nosuch v1 -f "{{.Name}}"
container inspect nosuch
image inspect nosuch
logs v3
logs -n 1 v3
logs nosuch
logs --since foo v3
diff nosuch
top v1 -o pid,cmd
port v1 80
port v1 foo
port v1 99999
history -q busybox
history --format "{{.ID}} {{.Size}} {{.CreatedBy}} {{.Comment}}" busybox
history nosuch
exec v1 echo hi
exec v1 sh -c "exit 9"
exec v1 nosuch
exec -u 12:34 v1 id
exec -e A=b v1 env
exec v3 ls
exec -it v1 ls
exec nosuch ls
exec v1
wait v3
wait nosuch
start nosuch
start -a v3
start -a v3 v1
attach v3
attach nosuch
pause v3
unpause v1
kill v3
kill -s FOO v1
kill -s SIG42 v1
kill -s 99 v1
kill SIG42
rename v1 v2
rename nosuch x
rename v1
stop nosuch
stop -t x v1
rm v1
rm nosuch
rm -f nosuch
rmi nosuch
rmi -f nosuch
tag nosuch a
tag busybox A
update v1
update -m 100m --memory-swap 200m v1
update --cpus 0.5 v1
update -m 1k v1
save nosuch
save -o /nonexistent/x busybox
save -o /etc/passwd/x busybox
save -o /tmp busybox
export -o /nonexistent/x v1
export nosuch
load -i /nonexistent
import /nonexistent
version -f "{{.Server.Version}}"
info -f "{{.Driver}} {{.NCPU}}"
container foo
container --foo
container -x
events --until foo
events --since 0 --until 1
events --since 5 --until 1
history --platform foo busybox
save --platform foo busybox
image inspect --platform foo busybox
create --platform linux/ busybox
run --platform foo --network none busybox true
run --dns foo --network none busybox true
run --mac-address foo --network none busybox true
start --detach-keys foo v1
create --network none --name v1 busybox
run --network none --rm busybox nosuch
run --network none --rm busybox sh -c "exit 5"
run --network none --rm busybox /etc
run --rm --network none -w /x/y busybox pwd
run --rm --network none -u nosuch busybox true
run --rm --network none nosuchimage
run --rm --pull never --network none nosuchimage
run --rm --network none --name "a b" busybox true
run --rm -it --network none busybox true
run -t --rm --network none busybox tty
run --rm --network none -m 1k busybox true
run -d -a stdout busybox
run -d --rm --network none busybox true
run
run --foo
foo
"""


@pytest.fixture(scope="module")
def containers(daemon: Daemon, busybox: str) -> Iterator[Daemon]:
    daemon.remove_containers()
    run = ("run", "--network", "none", "--name")
    daemon.docker(*run, "v1", "-d", "--label", "a=b", "--label", "x=", busybox, "sleep", "1000", check=True)
    daemon.docker(
        "create", "--network", "none", "--name", "v2", busybox, "sh", "-c", "echo a very long line", check=True
    )
    daemon.docker(*run, "v3", busybox, "sh", "-c", "echo out; echo err >&2; exit 3")
    yield daemon
    daemon.remove_containers()


def neutral(text: str) -> str:
    """Without what differs from run to run: the command's name, new IDs, how long ago something was."""
    text = re.sub(r"Run '(.*) --help' for more information|See '(.*) --help' for more information", _see, text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text.replace("docker", "wherry"))
    text = re.sub(r'"(ExecIDs|Pid|StartedAt|FinishedAt)": .*', "", text)
    text = re.sub(r"(Less than a|About a|an?|\d+) (second|minute|hour)s?( ago)?", "AGO", text)
    return re.sub(r" {2,}", "  ", text)


def _see(found: re.Match[str]) -> str:
    return f"See '{found[1] or found[2]} --help'."


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, neutral(done.stdout), neutral(done.stderr)


@pytest.mark.parametrize("line", COMMANDS.strip().splitlines())
def test_wherry_says_what_docker_says(containers: Daemon, line: str) -> None:
    words = shlex.split(line)
    assert outcome(containers.cli(*words, input="")) == outcome(containers.docker(*words, input=""))


#: By the module that has them: how the filters are asked for, and a value that makes sense where none is known.
FILTERED = {
    "container.prune": "container prune -f", "system.events": "events --until 1s", "image.prune": "image prune -f",
    "image.ls": "images", "network.ls": "network ls", "network.prune": "network prune -f", "container.ls": "ps -a",
}  # fmt: skip
SAMPLES = {
    "ancestor": "busybox",
    "before": "v2",
    "exited": "0",
    "expose": "80",
    "publish": "80",
    "since": "v2",
    "until": "1h",
}


@pytest.mark.parametrize("module", sorted(FILTERED))
def test_what_completion_offers_for_a_filter_is_one(containers: Daemon, module: str) -> None:
    for key, values in FILTERS[module].items():
        known = values if isinstance(values, tuple) else ()
        for value in known or [SAMPLES.get(key, "x")]:
            sample = "busybox" if module == "image.ls" and key in ("before", "since") else value
            done = containers.cli(*FILTERED[module].split(), "--filter", f"{key}={sample}")
            assert done.returncode == 0, f"{key}={sample}: {done.stderr}"


IMPOSSIBLE = r"""
--device /dev/nope busybox true
-w /etc/passwd busybox true
-u nobody-x busybox true
--sysctl kernel.panic=1 busybox true
-v /etc/passwd:/tmp busybox true
--pid container:nobody busybox true
--entrypoint /etc busybox
--security-opt seccomp=/no/such/file busybox true
--tmpfs /x:size=abc busybox true
-m 1 busybox true
--device-read-bps /dev/nope:1 busybox true
--group-add gang busybox true
--mount type=bind,src=/no/such,dst=/x busybox true
--memory-swappiness -5 busybox true
--gpus all busybox true
busybox ""
"""


@pytest.mark.parametrize("line", IMPOSSIBLE.strip().splitlines())
def test_what_cannot_run_ends_both_commands_alike(containers: Daemon, line: str) -> None:
    words = ["run", "--rm", "--network", "none", *shlex.split(line)]
    ours, theirs = outcome(containers.cli(*words)), outcome(containers.docker(*words))
    assert ours == theirs
    assert ours[0] in (125, 126, 127)


@pytest.mark.parametrize("line", [b"A B=c", b"=c", b"\tX Y", b"A=\xff\xfe"])
@pytest.mark.parametrize("flag", ["--env-file", "--label-file"])
def test_a_file_of_variables_with_a_bad_line_is_refused_alike(
    containers: Daemon, tmp_path: Path, flag: str, line: bytes
) -> None:
    file = tmp_path / "variables"
    file.write_bytes(b"GOOD=1\n" + line + b"\n")
    words = ["run", "--rm", flag, str(file), "busybox"]
    assert outcome(containers.cli(*words)) == outcome(containers.docker(*words))
    assert containers.cli(*words).returncode == 125


def test_a_file_with_an_id_is_not_written_twice(containers: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    file.write_text("somebody else's")
    words = ["run", "--rm", "--network", "none", "--cidfile", str(file), "busybox", "true"]
    ours = outcome(containers.cli(*words))
    assert ours == outcome(containers.docker(*words))
    assert (ours[0], file.read_text()) == (125, "somebody else's")


def test_where_no_file_for_an_id_can_be_is_told_alike(containers: Daemon, tmp_path: Path) -> None:
    words = ["run", "--rm", "--network", "none", "--cidfile", str(tmp_path / "no" / "cid"), "busybox", "true"]
    ours = outcome(containers.cli(*words))
    assert ours[1:] == outcome(containers.docker(*words))[1:]
    assert ours[0] == 125  # docker says 127, as if the container's command were missing
