//! Modules written in HSL that scripts import as `extras://NAME`.
//!
//! Their sources lie in `stdlib/extras` and are part of the program. Loaders give them out by [`source`].

/// The names of the modules and their sources.
pub const MODULES: &[(&str, &str)] = &[
    ("arc", include_str!("../extras/arc.hsl")),
    (
        "authentication-results",
        include_str!("../extras/authentication-results.hsl"),
    ),
    ("dmarc", include_str!("../extras/dmarc.hsl")),
    ("mta-sts", include_str!("../extras/mta-sts.hsl")),
    ("rate", include_str!("../extras/rate.hsl")),
    ("sasl", include_str!("../extras/sasl.hsl")),
    ("srs", include_str!("../extras/srs.hsl")),
    ("totp", include_str!("../extras/totp.hsl")),
];

/// The source of the module `extras://NAME`; none when there is no such module.
#[must_use]
pub fn source(name: &str) -> Option<&'static [u8]> {
    MODULES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| text.as_bytes())
}
