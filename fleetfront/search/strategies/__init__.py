"""Strategies: who decides which architectures are evaluated next. None knows where values come from."""
