"""Files of operations: uploads, results, and orphans, which belong to no row."""
