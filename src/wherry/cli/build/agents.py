"""``--ssh``: SSH agents of this side, which steps of a build may ask to sign, and for nothing else."""

from __future__ import annotations

import os
import stat

from wherry.cli.exit import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from contextlib import ExitStack
    from typing import Protocol

    from wherry.cli.flags.parser import Options

    class Stream(Protocol):
        """What the daemon's side, and the agent, are: a stream of bytes."""

        def recv(self, size: int, /) -> bytes: ...
        def sendall(self, data: bytes, /) -> object: ...


__all__ = ["agents_of", "connect", "forward"]

_DEFAULT = "default"
_VARIABLE = "SSH_AUTH_SOCK"
_MOST = 64
# draft-ietf-sshm-ssh-agent, 3: a message is its length in four bytes, its type in one, and more
_LONGEST = 256 << 10
_HEAD = 4
_ALLOWED = (b"\x0b", b"\x0d")  #: SSH_AGENTC_REQUEST_IDENTITIES, SSH_AGENTC_SIGN_REQUEST
_FAILURE = b"\x00\x00\x00\x01\x05"  #: SSH_AGENT_FAILURE


def agents_of(options: Options, stack: ExitStack) -> dict[str, str]:
    """The agents' sockets by their IDs.

    :param stack: ends the agents that are started here, for keys in files.
    :raises wherry.cli.exit.Exit: there is no such agent, or no such key.
    """
    found: dict[str, str] = {}
    for text in options["ssh"]:
        name, _, path = text.partition("=")
        name = name or _DEFAULT
        if not path:
            path = os.environ.get(_VARIABLE, "")
            if not path:
                raise Exit(1, f"invalid --ssh {text}: there is no SSH agent: {_VARIABLE} is not set")
        if name in found:
            raise Exit(1, f"invalid --ssh {text}: there is an agent {name} already")
        if len(found) >= _MOST:
            raise Exit(1, f"there are {len(options['ssh'])} --ssh, where {_MOST} are allowed")
        found[name] = _socket_of(text, path.split(","), stack)
    return found


def _socket_of(text: str, paths: list[str], stack: ExitStack) -> str:
    """An agent has to be there now, else somebody would find out in the middle of a build."""
    try:
        sockets = [path for path in paths if stat.S_ISSOCK(os.stat(path).st_mode)]
        if sockets:
            if len(paths) > 1:
                raise Exit(1, f"invalid --ssh {text}: it is one socket, or keys")
            connect(paths[0]).close()
            return paths[0]
        for path in paths:
            open(path, "rb").close()
    except OSError as error:
        path = str(error.filename or paths[0])
        raise Exit(1, f"invalid --ssh {text}: {path}: {os.strerror(error.errno or 0).lower()}") from error
    from wherry.cli.build.key_agent import KeyAgent

    agent = KeyAgent(paths)
    stack.callback(agent.close)
    return agent.socket


def connect(path: str) -> socket:
    """Connect to an agent.

    :raises OSError: there is none.
    """
    import _socket  # as the client does: `socket` takes longer to import

    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        agent.connect(path)
    except BaseException:
        agent.close()
        raise
    return agent


def forward(step: Stream, agent: Stream) -> None:
    """Carry a step's questions to an agent, and the answers back, one after the other, until one of them ends.

    The step may list keys and have things signed. Whoever could add or remove keys, or lock the agent, would do more
    than build: that fails, as with BuildKit.

    :raises OSError: one of them has gone.
    """
    while question := _message(step):
        if question[_HEAD : _HEAD + 1] in _ALLOWED:
            agent.sendall(question)
            answer = _message(agent)
            if not answer:
                return
            step.sendall(answer)
        else:
            step.sendall(_FAILURE)


def _message(stream: Stream) -> bytes:
    """One message, with its length; empty at the end, or where it is longer than any is."""
    head = _exactly(stream, _HEAD)
    size = int.from_bytes(head, "big")
    if len(head) < _HEAD or not 0 < size <= _LONGEST:
        return b""
    body = _exactly(stream, size)
    return head + body if len(body) == size else b""


def _exactly(stream: Stream, size: int) -> bytes:
    pieces, left = [], size
    while left and (piece := stream.recv(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
