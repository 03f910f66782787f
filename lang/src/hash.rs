//! Hash tables of the compiler. Its keys come from the program that is compiled, not from strangers, so the hash is a quick one.

use foldhash::fast::FixedState;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, FixedState>;
pub(crate) type HashSet<K> = std::collections::HashSet<K, FixedState>;
pub(crate) type IndexMap<K, V> = indexmap::IndexMap<K, V, FixedState>;
