"""What is heard in a call besides its sound: who speaks when, and the words."""
