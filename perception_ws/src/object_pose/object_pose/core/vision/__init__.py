"""Images on their way to a network and its outputs on their way back: boxes, decoders, regions of interest, drawing."""
