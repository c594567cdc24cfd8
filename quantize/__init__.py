"""What ships: turns a PoseNet and calibration pictures into model files that run on devices. Knows arch only."""
