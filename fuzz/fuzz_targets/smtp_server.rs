//! See `angarium_sandbox::targets::smtp_server`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| angarium_sandbox::targets::smtp_server(data));
