"""LiteRT's delegates for phones: the operators of a .tflite file that fall back to the CPU, by rules from sources."""

from quantize.delegates.check import CHECKS, DelegateReport, reports

__all__ = ["CHECKS", "DelegateReport", "reports"]
