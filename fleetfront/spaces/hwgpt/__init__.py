"""Language models in the style of GPT-2, known by HW-GPT-Bench's tables."""
