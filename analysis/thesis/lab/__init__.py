"""What the scripts of the thesis share: data, networks, training, runs that resume, results."""
