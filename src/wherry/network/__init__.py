"""Networks: interfaces, addresses, ports and names for the owners of network namespaces.

An *owner* is an opaque ID with a name. Containers, images and HTTP do not belong here.

The floors, lowest first. A module imports from floors below its own, and from its own folder; there are no circles.

====  ==================  ============================================================================================
0     ``model``           `Network`, `Endpoint` and what clients ask for; values only
1     ``ipam``            subnets, addresses and host ports: what is free, who has what
1     ``firewall``        nftables: the rules, the elements that networks and endpoints add, the kernel's side
1     ``dns``             the name server at 127.0.0.11
1     ``proxy6``          published ports at [::1], as Docker's userland proxy has them
2     ``kernel``          the helper thread with its netlink sockets
2     ``etc_files``       the texts of /etc/hosts, /etc/resolv.conf and /etc/hostname
2     ``database``        the tables in SQLite
3     ``drivers``         bridge, macvlan, ipvlan, dummy: which links, rules and routes an endpoint has
3     ``sandbox``         a network namespace with its interfaces; ``sandbox_pool`` (4) makes some in advance
4     ``definition``      from a request to a `Network`
5     ``store``           networks and endpoints with all that they hold, in memory and in the tables
6     ``predefined``      the networks ``bridge``, ``host`` and ``none``
6     ``kernel_state``    makes the kernel equal to the store, and keeps it so
7     ``warm_sandboxes``  what is kept ready for the next starts, on which networks, for how long
8     ``controller``      the facade, which the engine holds
8     ``diagnose``        ``network trace`` and ``port audit``; nothing else here imports it
====  ==================  ============================================================================================
"""
