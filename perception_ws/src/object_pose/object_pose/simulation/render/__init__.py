"""The renderer: meshes, materials, light, rasterisation."""
