"""Entry point of the script ``./wherry``, which runs without ``site``: adds the package to the path."""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/wherry/cli/")[0])
    from wherry.cli.main import main

    main()
