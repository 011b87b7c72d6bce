"""Address management: subnets for networks, addresses for endpoints, ports of the host."""
