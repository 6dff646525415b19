"""What a call was like before and after a change of its handler: two timelines, and what is different between them."""
