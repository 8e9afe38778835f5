"""What `suggest` is made of: the transformations, their divergences, the choice among them."""
