//! Traits for every outside effect, over the system and simulated.

pub mod disk;
