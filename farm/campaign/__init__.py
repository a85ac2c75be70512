"""Campaigns: chosen, carried out, summed up, compared, exported."""
