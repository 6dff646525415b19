"""Who may do what: groups of permissions, logins with what limits them, the audit log, tokens, masked numbers."""
