"""How fast couplet is, against what a user would run instead; `make bench` measures it again."""
