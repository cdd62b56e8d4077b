"""Optional parts, each with an extra of its own."""
