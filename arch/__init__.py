"""What a network is: the search space, its networks and their cost. Torch only; knows no data and no runtime."""
