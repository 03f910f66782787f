//! Traits for every outside effect: clock and timers, random numbers, DNS, network, disk.
//!
//! Nothing else in the workspace touches the system: a clippy ban-list sees to it. Production uses [`system`]; tests
//! and the simulator use virtual clocks, scripted DNS and in-memory networks and disks, so that a five-day retry
//! schedule runs in milliseconds and the same seed gives the same run.

pub mod clock;
pub mod disk;
pub mod dns;
pub mod local;
pub mod memory;
pub mod net;
pub mod random;
pub mod socket;
pub mod system;

pub use clock::{Clock, Monotonic, VirtualClock, yield_now};
pub use dns::{Dns, DnsAnswer, DnsError, Record, RecordData, RecordType};
pub use memory::MemoryNet;
pub use net::{Accepted, Connect, Connection, Listener, Net};
pub use random::{Random, SeededRandom};

/// A future of one thread: workers share nothing, so nothing has to be `Send`.
pub type LocalFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + 'a>>;
