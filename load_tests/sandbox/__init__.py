"""Stand-ins of the paid APIs on loopback, each with prices, latency, faults and its own bill."""
