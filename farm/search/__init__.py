"""Search: which networks are best on some devices, verified by measuring what the choice needs."""
