"""The kinds of input that ``fuzz`` tries, a module for each family of them."""
