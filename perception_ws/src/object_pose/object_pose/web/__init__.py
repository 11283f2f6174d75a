"""HTTP: the API, the page, and what stands between them and the network. The only package that imports fastapi."""
