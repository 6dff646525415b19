"""Who may do what: the groups of permissions, and the admin's login with its limits."""
