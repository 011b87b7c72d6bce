"""What ``wherry-oci --version`` says, which it writes without importing the specification's types."""

from __future__ import annotations

import subprocess

from support.oci_launcher import COMMAND
from wherry import __version__
from wherry.oci.runtime_spec import VERSION


def test_the_version_is_that_of_the_specification_types() -> None:
    said = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[:2] == [f"wherry-oci version {__version__}", f"spec: {VERSION}"]
