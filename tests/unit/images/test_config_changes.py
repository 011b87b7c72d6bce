"""Dockerfile instructions given to ``--change``."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.errors import InvalidInput, TooLarge
from wherry.images.config_changes import apply_changes


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["cmd echo hi"], {"Cmd": ["/bin/sh", "-c", "echo hi"]}),
        (["ENTRYPOINT [not json"], {"Entrypoint": ["/bin/sh", "-c", "[not json"]}),
        (['SHELL ["/bin/bash","-c"]', "CMD x"], {"Shell": ["/bin/bash", "-c"], "Cmd": ["/bin/bash", "-c", "x"]}),
        (["ENV A=1 B='x y' C=\"q \\\" r\" D=a\\ b"], {"Env": ["A=1", "B=x y", 'C=q " r', "D=a b"]}),
        (["ENV A 1 2 3"], {"Env": ["A=1 2 3"]}),
        (["ENV A=1", "ENV A=2 B=3"], {"Env": ["A=2", "B=3"]}),
        (["ENV A=1\nENV B=2"], {"Env": ["A=1", "B=2"]}),
        (["ENV A=1 \\\n B=2"], {"Env": ["A=1", "B=2"]}),
        (['LABEL a.b="c d" e=f', "LABEL e=g"], {"Labels": {"a.b": "c d", "e": "g"}}),
        (["EXPOSE 80 53/udp"], {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        (["EXPOSE 8000-8001/TCP"], {"ExposedPorts": {"8000/tcp": {}, "8001/tcp": {}}}),
        (["ONBUILD RUN make"], {"OnBuild": ["RUN make"]}),
        (["STOPSIGNAL SIGQUIT"], {"StopSignal": "SIGQUIT"}),
        (["USER 1:2"], {"User": "1:2"}),
        (['VOLUME ["/a","/b"]', "VOLUME /c /d"], {"Volumes": {"/a": {}, "/b": {}, "/c": {}, "/d": {}}}),
        (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (
            ["HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD x y"],
            {"Healthcheck": {"Test": ["CMD-SHELL", "x y"], "Interval": 9 * 10**10, "Timeout": 5 * 10**8, "Retries": 3}},
        ),
        (['HEALTHCHECK CMD ["a"]'], {"Healthcheck": {"Test": ["CMD", "a"]}}),
        (["", "# a comment"], {}),
    ],
)  # fmt: skip
def test_instructions_change_the_configuration(changes: list[str], config: dict[str, Any]) -> None:
    found: dict[str, Any] = {}
    apply_changes(found, changes)
    assert found == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("FROM x", "FROM is not a valid change command"),
        ("nonsense", "NONSENSE is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("ENV =1", "ENV names can not be blank"),
        ("EXPOSE 99999", "invalid containerPort: 99999"),
        ("EXPOSE http", "invalid containerPort: http"),
        ("EXPOSE " + "9" * 5000, "invalid containerPort: 99999"),
        ("HEALTHCHECK --retries=² CMD x", "unknown or malformed flag"),
        (f"HEALTHCHECK --retries={'9' * 5000} CMD x", "unknown or malformed flag"),
        (f"HEALTHCHECK --interval={'9' * 5000}s CMD x", "invalid duration"),
        ("HEALTHCHECK --interval=9999999999s CMD x", "invalid duration"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("USER a b", "USER requires exactly one argument"),
        ("HEALTHCHECK curl", "Unknown type 'curl' in HEALTHCHECK"),
        ("HEALTHCHECK --interval=soon CMD x", "invalid duration"),
        ("HEALTHCHECK --colour=red CMD x", "unknown or malformed flag"),
        ("SHELL /bin/sh", "JSON form"),
        ('VOLUME [""]', "can not be an empty string"),
    ],
)
def test_bad_instructions_are_refused(change: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        apply_changes({}, [change])


@pytest.mark.parametrize(
    ("change", "member", "value"),
    [
        ("ENV PATH=/x:$PATH", "Env", ["PATH=/x:/usr/bin", "HOME=/root"]),
        ('ENV PATH="/y:${PATH}"', "Env", ["PATH=/y:/usr/bin", "HOME=/root"]),
        ("ENV A=$NOPE B=${NOPE:-dflt} C=$$", "Env", ["PATH=/usr/bin", "HOME=/root", "A=", "B=dflt", "C="]),
        ("ENV A=1 B=$A", "Env", ["PATH=/usr/bin", "HOME=/root", "A=1", "B="]),
        ("ENV X ${PATH}/z y", "Env", ["PATH=/usr/bin", "HOME=/root", "X=/usr/bin/z y"]),
        (
            "ENV Q='$PATH' R=\\$PATH S=\"\\$PATH\"",
            "Env",
            ["PATH=/usr/bin", "HOME=/root", "Q=$PATH", "R=$PATH", "S=$PATH"],
        ),
        ("ENV A=${HOME:+set}${NOPE:+set}${HOME-x}", "Env", ["PATH=/usr/bin", "HOME=/root", "A=set/root"]),
        ("ENV A=${NOPE:-${HOME}/x}", "Env", ["PATH=/usr/bin", "HOME=/root", "A=/root/x"]),
        ("LABEL a=$PATH", "Labels", {"a": "/usr/bin"}),
        ("WORKDIR /a/$HOME", "WorkingDir", "/a/root"),
        ("USER ${U:-me}", "User", "me"),
        ("VOLUME /$PATH", "Volumes", {"//usr/bin": {}}),
        ("EXPOSE ${P:-80} 443", "ExposedPorts", {"80/tcp": {}, "443/tcp": {}}),
        ("CMD echo $PATH", "Cmd", ["/bin/sh", "-c", "echo $PATH"]),
    ],
)
def test_variables_of_the_environment_are_put_in_as_docker_does(change: str, member: str, value: object) -> None:
    config: dict[str, Any] = {"Env": ["PATH=/usr/bin", "HOME=/root"]}
    apply_changes(config, [change])
    assert config[member] == value


@pytest.mark.parametrize(
    "change", ["ENV A=${B", "ENV A=${}", "ENV A=${B:*x}", "ENV A=${B:?none}", "ENV A=" + "${B:-" * 5000 + "}" * 5000]
)
def test_variables_that_make_no_sense_are_refused(change: str) -> None:
    with pytest.raises(InvalidInput):
        apply_changes({}, [change])


def test_a_variable_that_doubles_itself_comes_to_an_end() -> None:
    for doubled in ("$A$A", '"$A$A"', "${A}${B:-$A}"):
        with pytest.raises(TooLarge):
            apply_changes({}, ["ENV A=0123456789", *[f"ENV A={doubled}"] * 40])
