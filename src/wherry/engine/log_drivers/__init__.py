"""Log drivers: which there are, how they differ, and the options of logs (``--log-driver``, ``--log-opt``)."""
