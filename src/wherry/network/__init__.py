"""Networks: bridges, addresses, ports and names for whoever owns a network namespace.

==================  ================================================================================================
``model``           the words: `Network`, `Wishes`, `Endpoint`, `Published` ...; values only
``networks``        the facade `Networks`, which the engine holds
``sandbox``         a network namespace with its interfaces; ``pool`` keeps some warm
``pools``           which subnets a network without one of its own may get; ``addresses`` hands out what is in one
``bridge``          drivers, with ``macvlan`` and ``dummy``: which links, addresses and routes an endpoint has
``ports``           who holds which port of the host
``state``           the tables in SQLite
``watch``           what another program took away is put back
``firewall``        what may reach what: nftables
``dns``             names at 127.0.0.11; ``hostfiles`` has the texts of /etc/hosts, /etc/resolv.conf, /etc/hostname
==================  ================================================================================================

An *owner* is an opaque ID with a name. Containers, images and HTTP do not belong here.
"""
