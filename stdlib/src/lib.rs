//! HSL's functions and classes, declared in one table.
//!
//! Each module is a family: its declarations first, then the functions. [`CORE`] puts the families together into
//! the context that every script sees; hooks add theirs (the MTA's tables).

pub mod array;
pub mod calendar;
pub mod csv;
pub mod data;
pub mod dkim;
pub mod dns;
pub mod domain;
pub mod encoding;
pub mod extras;
pub mod file;
pub mod hash;
pub mod heavy;
pub mod inet;
pub mod json;
pub mod keys;
mod large;
pub mod legacy;
pub mod math;
pub mod memory;
pub mod message;
pub mod misc;
pub mod queue;
pub mod regexp;
pub mod spf;
pub mod string;
pub mod time;
pub mod types;
pub mod yaml;

use angarium_runtime::native::ContextDecl;
use angarium_runtime::{exception, map_set};

/// The core library: what scripts see in every context.
pub static CORE: ContextDecl = ContextDecl {
    name: "core",
    functions: &[
        array::FUNCTIONS,
        csv::FUNCTIONS,
        dkim::FUNCTIONS,
        dns::FUNCTIONS,
        domain::FUNCTIONS,
        encoding::FUNCTIONS,
        hash::FUNCTIONS,
        inet::FUNCTIONS,
        json::FUNCTIONS,
        keys::FUNCTIONS,
        math::FUNCTIONS,
        memory::FUNCTIONS,
        misc::FUNCTIONS,
        queue::FUNCTIONS,
        regexp::FUNCTIONS,
        spf::FUNCTIONS,
        spf::LEGACY,
        string::FUNCTIONS,
        time::FUNCTIONS,
        types::FUNCTIONS,
        yaml::FUNCTIONS,
        legacy::FUNCTIONS,
    ],
    classes: &[
        exception::EXCEPTION,
        file::FILE,
        map_set::ITERATOR,
        map_set::MAP,
        message::MIME_PART,
        message::MAIL_MESSAGE,
        regexp::REGEX,
        map_set::SET,
    ],
    variables: &[],
};

#[cfg(test)]
mod tests {
    use angarium_runtime::library::Library;

    #[test]
    fn the_table_is_well_formed() {
        Library::new(&[&super::CORE]).unwrap();
    }
}
