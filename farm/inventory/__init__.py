"""cluster.yaml: read and checked, or changed with its comments kept."""
