"""The time budget of a search: its plan, from the measured speed of the machine, and its clock."""
