"""What is tagged one thing at a time, for every door: items, the JSONL contract, and reading what was named."""
