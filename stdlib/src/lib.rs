//! HSL's functions and classes, declared in one table.
//!
//! Each module is a family: its declarations first, then the functions. [`CORE`] puts the families together into
//! the context that every script sees; hooks add theirs (the MTA's tables).

pub mod appliance;
pub mod array;
pub mod calendar;
pub mod csv;
pub mod data;
pub mod dkim;
pub mod dmarc;
pub mod dns;
mod dns_lists;
pub mod domain;
pub mod encoding;
pub mod extras;
pub mod file;
mod file_lines;
pub mod hash;
pub mod heavy;
pub mod http;
pub mod iconv;
pub mod inet;
pub mod json;
pub mod keys;
mod large;
pub mod legacy;
pub mod mailer;
pub mod mailtext;
pub mod manual;
pub mod math;
pub mod memory;
pub mod message;
pub mod metrics;
pub mod mime;
pub mod mime_part;
pub mod misc;
pub mod network;
pub mod pack;
pub mod pooled;
pub mod queue;
pub mod rate;
pub mod regexp;
mod scratch;
pub mod smtp;
pub mod socket;
pub mod spf;
pub mod string;
pub mod time;
pub mod tls;
mod tls_socket;
pub mod types;
pub mod url;
mod wait;
pub mod x509;
pub mod yaml;
pub mod zlib;

use angarium_runtime::native::ContextDecl;
use angarium_runtime::{exception, map_set};

/// The core library: what scripts see in every context.
pub static CORE: ContextDecl = ContextDecl {
    name: "core",
    functions: &[
        appliance::FUNCTIONS,
        array::FUNCTIONS,
        csv::FUNCTIONS,
        dkim::FUNCTIONS,
        dns::FUNCTIONS,
        dns_lists::FUNCTIONS,
        domain::FUNCTIONS,
        encoding::FUNCTIONS,
        file_lines::FUNCTIONS,
        hash::FUNCTIONS,
        http::FUNCTIONS,
        inet::FUNCTIONS,
        json::FUNCTIONS,
        keys::FUNCTIONS,
        mailtext::FUNCTIONS,
        math::FUNCTIONS,
        memory::FUNCTIONS,
        metrics::FUNCTIONS,
        mime::FUNCTIONS,
        misc::FUNCTIONS,
        pack::FUNCTIONS,
        queue::FUNCTIONS,
        rate::FUNCTIONS,
        regexp::FUNCTIONS,
        smtp::FUNCTIONS,
        spf::FUNCTIONS,
        spf::LEGACY,
        string::FUNCTIONS,
        time::FUNCTIONS,
        types::FUNCTIONS,
        url::FUNCTIONS,
        yaml::FUNCTIONS,
        zlib::FUNCTIONS,
        legacy::FUNCTIONS,
    ],
    classes: &[
        exception::EXCEPTION,
        file::FILE,
        iconv::ICONV,
        map_set::ITERATOR,
        map_set::MAP,
        mime::MIME,
        mime_part::MIME_PART,
        message::MAIL_MESSAGE,
        regexp::REGEX,
        map_set::SET,
        socket::SOCKET,
        tls_socket::TLS_SOCKET,
        x509::X509,
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
