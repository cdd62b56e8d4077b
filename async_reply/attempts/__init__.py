"""One attempt at an operation: claimed, run, kept alive, finished."""
