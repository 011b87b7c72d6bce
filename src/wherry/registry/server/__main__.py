"""``python -m wherry.registry.server``."""

import sys

from wherry.registry.server.main import main

sys.exit(main())
