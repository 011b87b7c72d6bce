"""Where the script ``./wherry`` enters: without ``site``, so the way to the package is said here."""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/wherry/cli/")[0])
    from wherry.cli.main import main

    main()
