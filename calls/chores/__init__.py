"""What is done beside the calls: in a process of its own, one a machine, which gives way to all others."""
