"""How the phantom's pictures are drawn: cohort -> anatomy -> findings -> film."""
