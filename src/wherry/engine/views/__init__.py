"""Read-only answers about containers and the engine: inspect, list, stats, top, info, explain."""
