"""The nodes and the processes that hold them."""
