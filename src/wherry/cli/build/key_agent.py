"""An SSH agent for keys in files (``--ssh ID=FILE``): OpenSSH's own, which ends with this process, in any case."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from wherry.cli.exit import Exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KeyAgent"]

#: The command that ssh-agent runs ends with the pipe that we hold. The agent itself would look for it every ten seconds
#: only, and keep the keys as long; its socket is gone when it ends.
_SCRIPT = 'echo; cat > /dev/null; kill "$SSH_AGENT_PID"; while [ -e "$SSH_AUTH_SOCK" ]; do sleep 0.01; done'
_COMMAND = ("sh", "-c", _SCRIPT)
_PATIENCE = 10.0  # seconds for it to end


class KeyAgent:
    """One that knows some keys. To be closed.

    :param paths: of the keys. One with a passphrase is asked for on the terminal.
    :raises wherry.cli.exit.Exit: a key cannot be used, or OpenSSH is missing.
    :ivar socket: where it listens.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._directory = tempfile.mkdtemp(prefix="wherry-ssh-")
        self.socket = os.path.join(self._directory, "agent")
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
            for path in paths:
                self._add(path)
        except FileNotFoundError as error:
            self.close()
            hint = "keys in files need OpenSSH's ssh-agent and ssh-add"
            raise Exit(1, f"{error.filename}: no such file or directory; {hint}") from error
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._process = subprocess.Popen(
            ["ssh-agent", "-a", self.socket, *_COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None, "it is a pipe"
        if not self._process.stdout.readline():
            raise Exit(1, "ssh-agent did not start")

    def _add(self, path: str) -> None:
        """By standard input: there, ssh-add does not mind who may read the file."""
        environment = {**os.environ, "SSH_AUTH_SOCK": self.socket}
        with open(path, "rb") as key:
            done = subprocess.run(
                ["ssh-add", "-q", "-"], env=environment, stdin=key, capture_output=True, text=True, check=False
            )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it is no private key"]
            raise Exit(1, f"invalid --ssh: failed to parse {path}: {said[-1]}")

    def close(self) -> None:
        """End it, and leave nothing; safe to call twice."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
