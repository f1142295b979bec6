"""Operator families: one record each says its shapes, what torch computes, what files hold, and what it costs."""
