"""Training samples from photographs and renders, and their augmentation."""
