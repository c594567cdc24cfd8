"""Export of networks to quantized model files, and bundles that run them. Imports `arch` only."""
