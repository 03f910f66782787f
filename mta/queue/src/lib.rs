//! Queue index, retry rules, destinations and the outcome of delivery attempts.

pub mod attempt;
pub mod codec;
pub mod destination;
pub mod dsn;
pub mod item;
pub mod outcome;
mod random;
pub mod retry;
pub mod text;
pub mod time;
pub mod transport;
