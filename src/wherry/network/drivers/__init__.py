"""The kinds of network: a contract, one file per driver, and the table of drivers in `find`."""
