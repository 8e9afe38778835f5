"""Does a column have two modes, and which evidence says so?"""
