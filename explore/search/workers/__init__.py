"""Worker processes of a search, on one machine or many, and the leases by which they share work."""
