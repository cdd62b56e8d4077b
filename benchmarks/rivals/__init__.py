"""The same API three times: ours, as tutorials write it, and the least that could answer."""
