"""Accuracy estimators side by side."""
