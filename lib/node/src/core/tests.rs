//! Whole cores on a simulated clock.
