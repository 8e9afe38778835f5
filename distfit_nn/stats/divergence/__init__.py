"""How far is a column from N(0, 1), or from another?"""
