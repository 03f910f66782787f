//! Modules written in HSL that scripts import as `extras://NAME`.
//!
//! Their sources lie in `stdlib/extras` and are part of the program. Loaders give them out by [`source`].

/// The names of the modules and their sources.
pub const MODULES: &[(&str, &str)] = &[];

/// The source of the module `extras://NAME`; none when there is no such module.
#[must_use]
pub fn source(name: &str) -> Option<&'static [u8]> {
    MODULES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| text.as_bytes())
}
