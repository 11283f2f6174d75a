"""Reports as HTML, PDF and JSON, one package each."""
