"""Network descriptions, search spaces, torch modules and cost. Depends on torch, but not on data or runtimes."""
