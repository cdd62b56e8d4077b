"""Files of operations: uploads, results, and what is left over of them."""
