//! See `angarium_sandbox::targets::lexer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| angarium_sandbox::targets::lexer(data));
