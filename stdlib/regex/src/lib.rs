//! HSL regular expressions on the regex crate and on PCRE2.
