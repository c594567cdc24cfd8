"""Export of trained networks: model files, bundles and certificates."""
