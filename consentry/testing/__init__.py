"""The test kit: simulators, reference connectors and contracts for your own connectors."""
