"""What several tests share: fakes, harnesses, conformance lists, clients, needs."""
