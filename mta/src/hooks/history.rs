//! `History` of the eod hook: a line in the log about what became of a recipient.

use angarium_runtime::native::{Args, Cx, FnDecl, Outcome, Throw, opt};
use angarium_runtime::value::Value;
use angarium_smtp::address::ReversePath;

use super::envelope;
use super::eod::Mail;
use super::options::Reader;
use crate::log::quoted;
use crate::scripts::Events;

/// What History knows to have happened.
const ACTIONS: [&str; 5] = ["REJECT", "DELETE", "DELIVER", "DEFER", "ERROR"];

/// The severity of the line: an ordinary event of syslog(3).
const INFO: u32 = 6;

/// The function.
pub(super) const HISTORY: FnDecl = FnDecl::plain(
    "History(action: string, recipient: string|array, options?: array): boolean|none",
    "Logs what became of a recipient: REJECT, DELETE, DELIVER, DEFER or ERROR. Gives true.",
    history,
)
.options(&[
    opt(
        "sender",
        "string|array",
        "",
        "sender; the transaction's when absent",
    ),
    opt("metadata", "array", "", "string pairs"),
    opt("transportid", "string", "", "transport"),
    opt("reason", "string", "", "why"),
]);

fn history(cx: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let action = args.bytes(0);
    let Some(action) = ACTIONS.iter().find(|known| known.as_bytes() == action) else {
        return Err(Throw::error(format!(
            "History: \"{}\" is none of {}",
            String::from_utf8_lossy(action),
            ACTIONS.join(", ")
        )));
    };
    let recipient = envelope::mailbox(args.get(1), "History: recipient")?;
    let reader = Reader::new("History", args.get(2));
    let sender = match reader.get("sender") {
        Some(sender) => envelope::reverse_path(&sender, "History: option sender")?,
        None => {
            let mail = cx.host.extension::<Mail>();
            mail.map_or(ReversePath::Null, |mail| mail.sender().clone())
        }
    };
    let mut line = format!("history action={action} sender=<{sender}> recipient=<{recipient}>");
    for name in ["transportid", "reason"] {
        if let Some(text) = reader.text(name)? {
            line.push_str(&format!(" {name}={}", quoted(&text.to_str())));
        }
    }
    for (name, value) in reader
        .pairs("metadata")?
        .iter()
        .flat_map(|pairs| pairs.iter())
    {
        let (name, value) = (quoted(&name.to_str()), quoted(&value.to_str()));
        line.push_str(&format!(" metadata.{name}={value}"));
    }
    cx.charge(100 + line.len() / 16);
    match cx.host.extension::<Events>() {
        Some(events) => events.tell(&line),
        // A tool, which prints it.
        None => cx.host.output.syslog(INFO, line.as_bytes()),
    }
    Ok(Value::Boolean(true))
}
