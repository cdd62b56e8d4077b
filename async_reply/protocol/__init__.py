"""HTTP as clients see it: headers, problem documents, URLs and valet keys."""
