"""Objects: procedural parts, CAD files, BOP models, their symmetries."""
