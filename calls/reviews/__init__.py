"""What staff make of calls: comments at a moment, scorecards, and the queues that deal calls out to reviewers."""
