"""Reports as HTML, PDF and JSON, one package each; ``page`` and ``base.html`` are what the HTML ones share."""
