"""What is predicted from what was measured, and what to measure next."""
