"""From a trained network to judged model files: stages, float islands, legal activations, training in 8 bits."""
