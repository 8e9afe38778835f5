"""Is a column normal, how far is it from that, and which evidence says so?"""
