"""What leaves the house: the recorded models as the live page runs them."""
