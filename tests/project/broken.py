"""A module that cannot be imported."""

raise ValueError("Set MINE in the settings.")
