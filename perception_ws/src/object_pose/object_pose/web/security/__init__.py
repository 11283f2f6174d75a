"""Who may call what: tokens, scopes, limits, headers and the audit log."""
