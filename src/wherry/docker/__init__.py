"""What Docker's API says, as values: request bodies, filters, ports, network modes, references, times, units. No I/O.

The engine, the API and tests share this vocabulary; sources are the Engine API's reference and moby's behaviour.
"""
