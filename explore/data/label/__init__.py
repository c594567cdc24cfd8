"""Pseudo-labels: 3D poses of the people in unlabelled photos and videos, estimated by a teacher."""
