"""A module of a project that has a mistake in it."""

raise ValueError("Set MINE in the settings.")
