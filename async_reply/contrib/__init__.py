"""Optional parts. Each needs the extra of its name."""
