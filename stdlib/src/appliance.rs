//! Functions of an appliance's services that nobody else has: they answer as if the service knew nothing
//! (stdlib.md, legacy names).

use std::sync::atomic::{AtomicBool, Ordering};

use angarium_runtime::native::{Cx, FnDecl};

/// Priority of syslog(3).
const WARNING: u32 = 4;

/// The functions of this family.
pub const FUNCTIONS: &[FnDecl] = &[
    FnDecl::plain(
        "serial(): string",
        "Once gave the serial number of an appliance; gives an empty string. The log says so once.",
        |cx, _| {
            static SAID: AtomicBool = AtomicBool::new(false);
            say_once(cx, &SAID, "serial() has no serial number to give");
            Ok("".into())
        },
    )
    .legacy()
    .example("serial() // \"\""),
    FnDecl::plain(
        "globalview(ip: string): string",
        "Once asked a commercial service about an address; gives \"accept\". The log says so once.",
        |cx, _| {
            static SAID: AtomicBool = AtomicBool::new(false);
            say_once(
                cx,
                &SAID,
                "globalview() has no service to ask and accepts every address",
            );
            Ok("accept".into())
        },
    )
    .legacy()
    .example("globalview(\"192.0.2.1\") // \"accept\""),
];

fn say_once(cx: &Cx<'_>, said: &AtomicBool, text: &str) {
    if !said.swap(true, Ordering::Relaxed) {
        cx.host.output.syslog(WARNING, text.as_bytes());
    }
}
