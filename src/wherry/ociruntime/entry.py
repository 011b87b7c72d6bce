"""Entry point of the script ``./wherry-oci``, which runs without ``site``: the package and its needs go on the path."""

import gc
import sys

if __name__ == "__main__":
    gc.disable()  # all that is made on the way is needed until the end, and looking through it takes a tenth of a start
    # msgspec takes typing's own functions then; that package has nothing else that it needs, and imports `inspect`.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    sys.path.insert(0, __file__.rpartition("/wherry/ociruntime/")[0])
    environment = sys.executable.rpartition("/bin/")[0]
    sys.path.append(f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")
    from wherry.ociruntime.main import main

    main()
