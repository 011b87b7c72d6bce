"""The keeper as a script, for an interpreter without ``site`` (``python -I -S .../wherry/keeper/__main__.py``).

Leaving out ``site`` saves a third of the start-up time, and no ``.pth`` file of the environment gets to run code in the
parent of all containers. The package is then found next to this file.
"""

import os
import sys

if not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from wherry.runtime.launch.sealed_exe import reexec_from_readonly_mount

if __name__ == "__main__":
    # Before anything else is imported: it would be imported a second time.
    reexec_from_readonly_mount(sys.orig_argv[1:])

    from wherry.keeper.main import main

    sys.exit(main())
