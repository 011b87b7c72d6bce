"""The keeper as a script, for an interpreter without ``site`` (``python -I -S .../wherry/keeper/__main__.py``).

Leaving out ``site`` saves a third of the start-up time, and no ``.pth`` file of the environment gets to run code in the
parent of all containers. The package is then found next to this file.
"""

import os
import sys

if not __package__:
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from wherry.keeper.main import main

if __name__ == "__main__":
    sys.exit(main())
