"""Who may do what: groups of permissions, the admin's login with its limits, programs' tokens, and masked numbers."""
