"""`attempt-bridge demo`: a real bridge with simulated vendors, candidates and four subscribers."""
