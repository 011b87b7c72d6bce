"""What reaches what, and why not: ``network trace`` and ``port audit``, which read values and ask no kernel."""
