//! Queue index, retry rules, destinations and the outcome of delivery attempts.

pub mod attempt;
pub mod codec;
pub mod destination;
pub mod dsn;
pub mod gate;
pub mod index;
pub mod item;
mod nodes;
pub mod outcome;
pub mod pool;
mod random;
pub mod retry;
pub mod scheduler;
pub mod text;
pub mod time;
pub mod transport;
