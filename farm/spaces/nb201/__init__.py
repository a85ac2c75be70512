"""NAS-Bench-201: its cells, graphs, features and torch modules."""
