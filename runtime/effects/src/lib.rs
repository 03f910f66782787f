//! Traits for every outside effect, over the system and simulated.
