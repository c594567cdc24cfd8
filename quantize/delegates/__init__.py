"""LiteRT's delegates for phones: which operators of a .tflite file fall back to the CPU, by rules from their sources."""

from quantize.delegates.check import CHECKS, DelegateReport, Fallback, reports

__all__ = ["CHECKS", "DelegateReport", "Fallback", "reports"]
