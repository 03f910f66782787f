//! The part that people read.

use super::{Action, DiagnosticType, Recipient, Report, one_line};
use crate::{date, header::HeaderBlock};

/// Width of the text: short enough that quoted-printable need not break a line of ASCII.
const WIDTH: usize = 72;
/// Longest answer of a server that is repeated, in characters.
const MAX_ANSWER: usize = 2000;

pub(super) fn readable(report: &Report<'_>, original: &HeaderBlock) -> String {
    let host = one_line(report.hostname);
    let mut text = Text::default();
    text.paragraph("", &format!("This is the mail system at {host}."));
    text.blank();
    let one = report.recipients.len() == 1;
    let recipients = if one {
        "this recipient"
    } else {
        "these recipients"
    };
    text.paragraph(
        "",
        &match report.action {
            Action::Failed => format!(
                "Your message could not be delivered to {recipients}. No more attempts will be made."
            ),
            Action::Delayed => format!(
                "Your message has not been delivered to {recipients} yet. Attempts go on; there is no need to send it again."
            ),
            Action::Delivered => format!("Your message was delivered to {recipients}."),
            Action::Relayed => format!(
                "Your message was passed on for {recipients}, to a mail system that does not report deliveries. You may not hear of it again."
            ),
            Action::Expanded => format!(
                "Your message was passed on to the addresses that stand for {recipients}."
            ),
        },
    );
    for recipient in report.recipients {
        text.blank();
        text.recipient(report.action, recipient);
    }
    text.blank();
    if let Some(subject) = original.value(b"Subject", 0, true) {
        text.paragraph("    ", &format!("Subject: {}", one_line(&subject)));
    }
    if let Some(arrival) = report.original.arrival {
        text.paragraph("    ", &format!("Received: {}", date::format_utc(arrival)));
    }
    text.out
}

#[derive(Default)]
struct Text {
    out: String,
}

impl Text {
    fn recipient(&mut self, action: Action, recipient: &Recipient<'_>) {
        self.paragraph("", &format!("<{}>", one_line(recipient.address)));
        let answer = recipient.diagnostic.map(|(_, text)| one_line(text));
        if let Some(mta) = recipient.remote_mta.map(one_line) {
            let lead = match (recipient.diagnostic, recipient.command) {
                (Some((DiagnosticType::Smtp, _)), Some(command)) => {
                    let answered = match command {
                        "BANNER" => "the connection".to_owned(),
                        "EOD" => "the message".to_owned(),
                        command => one_line(command),
                    };
                    format!("The server {mta} said in reply to {answered}:")
                }
                (Some((DiagnosticType::Smtp, _)), None) => format!("The server {mta} said:"),
                (Some((DiagnosticType::XError, _)), _) => format!("With the server {mta}:"),
                (None, _) => format!("Server: {mta}"),
            };
            self.paragraph("    ", &lead);
        }
        if let Some(answer) = answer {
            let answer: String = answer.chars().take(MAX_ANSWER).collect();
            self.paragraph("    ", &answer);
        }
        if let (Action::Delayed, Some(until)) = (action, recipient.will_retry_until) {
            let until = date::format_utc(until);
            self.paragraph("    ", &format!("Attempts go on until {until}."));
        }
    }

    fn blank(&mut self) {
        self.out.push_str("\r\n");
    }

    /// Writes text as lines of at most [`WIDTH`], broken between words.
    fn paragraph(&mut self, indent: &str, text: &str) {
        let mut column = 0;
        for word in text.split(' ') {
            let size = word.chars().count();
            if column > 0 && column + 1 + size > WIDTH {
                self.blank();
                column = 0;
            }
            if column == 0 {
                self.out.push_str(indent);
                column = indent.len();
            } else {
                self.out.push(' ');
                column += 1;
            }
            self.out.push_str(word);
            column += size;
        }
        self.blank();
    }
}
