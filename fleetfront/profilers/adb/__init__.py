"""Measure on phones and boards over the Android Debug Bridge: transports, runners, conditions and the agent."""
