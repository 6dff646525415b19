"""What processes say to each other, over Channels' layer: letters to one mailbox, or to a group of them."""
