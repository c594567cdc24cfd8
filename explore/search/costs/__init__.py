"""What a search minimises and limits besides the error: quantities, and how each is measured or predicted."""
