"""Objectives and limits besides the error, and how each is measured or predicted."""
