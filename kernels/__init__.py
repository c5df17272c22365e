"""Device code as data: scalar expressions, their derivatives, and their spellings."""
