"""The parts of HTTP that clients see: headers, problem documents, URLs and valet keys."""
