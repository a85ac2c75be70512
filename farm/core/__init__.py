"""Values, errors and hosts: what every part of the farm knows."""
