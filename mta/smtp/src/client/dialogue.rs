//! From MAIL to the reply to the message.

use super::body::Body;
use super::config::{Protocol, State};
use super::event::{Failure, FailureKind, Outcome, Output, PeerReply};
use super::machine::{Client, Stage};
use super::transaction::Transaction;
use crate::address::ReversePath;
use crate::content::Encoder;

/// A transaction under way.
pub(super) struct Current {
    pub(super) transaction: Transaction,
    /// One for each recipient; `None` as long as it is not decided.
    pub(super) results: Vec<Option<Outcome>>,
    /// RCPT replies seen.
    pub(super) answered: usize,
    /// EOD replies seen (LMTP).
    pub(super) ended: usize,
    /// Recipients that RCPT accepted.
    pub(super) accepted: Vec<usize>,
    pub(super) mail_accepted: bool,
    /// It ends after the last RCPT.
    pub(super) probe: bool,
}

impl Current {
    pub(super) fn new(transaction: Transaction, probe: bool) -> Self {
        Self {
            results: vec![None; transaction.recipients.len()],
            transaction,
            answered: 0,
            ended: 0,
            accepted: Vec::new(),
            mail_accepted: false,
            probe,
        }
    }

    /// Decides all that is open.
    pub(super) fn settle(&mut self, outcome: &Outcome) {
        for result in &mut self.results {
            result.get_or_insert_with(|| outcome.clone());
        }
    }

    pub(super) fn decide(&mut self, recipient: usize, outcome: Outcome) {
        if let Some(result) = self.results.get_mut(recipient) {
            result.get_or_insert(outcome);
        }
    }
}

impl Client {
    pub(super) fn begin(&mut self, transaction: Transaction, probe: bool) {
        let mut current = Box::new(Current::new(transaction, probe));
        if !matches!(self.stage, Stage::Idle) {
            let failure = Failure::temporary(FailureKind::Network, "the connection is not ready");
            current.settle(&Outcome::Error(failure));
            return self.report(*current);
        }
        if current.transaction.needs_utf8() && !self.peer.smtputf8 {
            let message = "the message needs SMTPUTF8, which the server does not offer";
            let failure = Failure::permanent(FailureKind::Smtp, message).with_status(5, 6, 7);
            current.settle(&Outcome::Error(failure));
            return self.report(*current);
        }
        if let Some(failure) = self.unmet(&current.transaction) {
            current.settle(&Outcome::Error(failure));
            return self.report(*current);
        }
        if let Some(max) = self.peer.rcptmax {
            let message = format!("the server takes no more than {max} recipients at once");
            let failure = Failure::temporary(FailureKind::Smtp, message).with_status(4, 5, 3);
            for recipient in max..current.transaction.recipients.len() {
                current.decide(recipient, Outcome::Error(failure.clone()));
            }
            current.transaction.recipients.truncate(max);
        }
        self.transactions = self.transactions.saturating_add(1);
        if std::mem::take(&mut self.dirty) {
            self.stage = Stage::Resetting(current);
            self.command("RSET", State::Rset);
        } else {
            self.envelope(current);
        }
    }

    /// Why the server cannot be given the message, if it cannot.
    fn unmet(&self, transaction: &Transaction) -> Option<Failure> {
        let failure = |kind, message, (class, subject, detail)| {
            Failure::permanent(kind, message).with_status(class, subject, detail)
        };
        let demands = transaction.demands;
        if demands.binary && !self.peer.binarymime {
            let message = "the message is BINARYMIME, which the server does not take";
            return Some(failure(FailureKind::Smtp, message, (5, 6, 3)));
        }
        // A notice of what went wrong is better sent unprotected than lost (RFC 8689 §5).
        if !demands.requiretls || transaction.sender == ReversePath::Null {
            return None;
        }
        if !self.tls {
            let message = "the message requires TLS, and the connection has none";
            return Some(failure(FailureKind::Tls, message, (5, 7, 10)));
        }
        let message = "the message needs REQUIRETLS, which the server does not offer";
        (!self.peer.requiretls).then(|| failure(FailureKind::Smtp, message, (5, 7, 30)))
    }

    pub(super) fn rset_reply(&mut self, reply: PeerReply) {
        match (std::mem::replace(&mut self.stage, Stage::Idle), reply.code) {
            (Stage::Resetting(current), 200..=299) => self.envelope(current),
            (stage, 400..) => {
                self.stage = stage;
                self.fail(Outcome::Reply(reply));
            }
            (stage, _) => {
                self.stage = stage;
                self.wrong_reply(&reply);
            }
        }
    }

    /// Sends MAIL, and the rest at once where the server takes it.
    fn envelope(&mut self, mut current: Box<Current>) {
        let transaction = &current.transaction;
        let mail = transaction.mail(&self.peer);
        let rcpts: Result<Vec<String>, _> = transaction
            .recipients
            .iter()
            .map(|rcpt| rcpt.rcpt(&self.peer))
            .collect();
        let (mail, rcpts) = match (mail, rcpts) {
            (Ok(mail), Ok(rcpts)) if !rcpts.is_empty() => (mail, rcpts),
            _ => {
                let failure = Failure::permanent(
                    FailureKind::Config,
                    "the envelope cannot be written as commands",
                );
                current.settle(&Outcome::Error(failure));
                self.stage = Stage::Idle;
                return self.report(*current);
            }
        };
        // The size of a chunk is said before it is sent, so that BDAT waits for recipients.
        let data = !current.probe && !current.transaction.uses_bdat(&self.peer);
        self.stage = Stage::Envelope(current);
        self.command(&mail, State::Mail);
        if self.pipelines() {
            for rcpt in rcpts {
                self.command(&rcpt, State::Rcpt);
            }
            if data {
                self.command("DATA", State::Data);
            }
        }
    }

    fn pipelines(&self) -> bool {
        self.config.pipelining && self.peer.pipelining
    }

    pub(super) fn mail_reply(&mut self, reply: PeerReply) {
        let pipelines = self.pipelines();
        let Stage::Envelope(current) = &mut self.stage else {
            return self.wrong_reply(&reply);
        };
        match reply.code {
            200..=299 => {
                current.mail_accepted = true;
                if !pipelines {
                    self.next_rcpt();
                }
            }
            400.. => {
                current.settle(&Outcome::Reply(reply));
                if !pipelines {
                    self.finish();
                }
            }
            _ => self.wrong_reply(&reply),
        }
    }

    pub(super) fn rcpt_reply(&mut self, reply: PeerReply) {
        let pipelines = self.pipelines();
        let Stage::Envelope(current) = &mut self.stage else {
            return self.wrong_reply(&reply);
        };
        let recipient = current.answered;
        current.answered += 1;
        match reply.code {
            200..=299 => {
                current.accepted.push(recipient);
                if current.probe {
                    current.decide(recipient, Outcome::Reply(reply));
                }
            }
            400.. => current.decide(recipient, Outcome::Reply(reply)),
            _ => return self.wrong_reply(&reply),
        }
        let over = current.answered >= current.transaction.recipients.len();
        if over && current.probe {
            self.finish();
        } else if !pipelines {
            self.next_rcpt();
        } else if over && current.transaction.uses_bdat(&self.peer) {
            self.begin_chunks();
        }
    }

    /// All recipients are answered: sends the message by BDAT, if anybody is left to get it.
    fn begin_chunks(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Envelope(current) if current.mail_accepted && !current.accepted.is_empty() => {
                let body = Body::chunks(current.transaction.demands.binary);
                self.stage = Stage::Content(current, body);
                self.since = self.now;
                self.outputs.push_back(Output::Content);
            }
            other => {
                self.stage = other;
                self.finish();
            }
        }
    }

    /// The next command of an envelope that goes step by step.
    fn next_rcpt(&mut self) {
        let Stage::Envelope(current) = &self.stage else {
            return;
        };
        match current.transaction.recipients.get(current.answered) {
            // `envelope` has built all of them once, so this cannot fail.
            Some(rcpt) => match rcpt.rcpt(&self.peer) {
                Ok(line) => self.command(&line, State::Rcpt),
                Err(error) => self.protocol_error(&error.to_string()),
            },
            None if current.accepted.is_empty() => self.finish(),
            None if current.transaction.uses_bdat(&self.peer) => self.begin_chunks(),
            None => self.command("DATA", State::Data),
        }
    }

    pub(super) fn data_reply(&mut self, reply: PeerReply) {
        let Stage::Envelope(mut current) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return self.wrong_reply(&reply);
        };
        let usable = current.mail_accepted && !current.accepted.is_empty();
        match reply.code {
            300..=399 if reply.code != 354 => {
                self.stage = Stage::Envelope(current);
                self.wrong_reply(&reply);
            }
            354 if usable => {
                self.stage = Stage::Content(current, Body::Data(Encoder::new()));
                self.outputs.push_back(Output::Content);
            }
            // The server wants a message although nobody is left to get it (RFC 2920 §3.1).
            354 => {
                self.stage = Stage::Draining(current);
                Encoder::new().finish(&mut self.requests);
                self.expected.push_back(State::Eod);
                self.since = self.now;
            }
            400.. => {
                current.settle(&Outcome::Reply(reply));
                self.stage = Stage::Envelope(current);
                self.finish();
            }
            _ => {
                self.stage = Stage::Envelope(current);
                self.wrong_reply(&reply);
            }
        }
    }

    pub(super) fn content(&mut self, piece: &[u8]) {
        match &mut self.stage {
            Stage::Content(_, Body::Data(encoder)) => {
                encoder.encode(piece, &mut self.requests);
                self.since = self.now;
            }
            Stage::Content(_, Body::Chunks(chunks)) => {
                chunks.add(piece);
                self.since = self.now;
                self.send_chunks();
            }
            _ => {}
        }
    }

    pub(super) fn content_end(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Content(current, Body::Data(encoder)) => {
                encoder.finish(&mut self.requests);
                self.ending(current);
            }
            mut other => {
                if let Stage::Content(_, Body::Chunks(chunks)) = &mut other {
                    chunks.end();
                    self.since = self.now;
                }
                self.stage = other;
                self.send_chunks();
            }
        }
    }

    /// Sends the chunks that are full: all at once where the server takes it, else one after each reply.
    fn send_chunks(&mut self) {
        while self.pipelines() || self.expected.is_empty() {
            let Stage::Content(_, Body::Chunks(chunks)) = &mut self.stage else {
                return;
            };
            match chunks.write(&mut self.requests) {
                None => return,
                Some(false) => self.expected.push_back(State::Bdat),
                Some(true) => {
                    let stage = std::mem::replace(&mut self.stage, Stage::Idle);
                    if let Stage::Content(current, _) = stage {
                        self.ending(current);
                    }
                }
            }
        }
    }

    /// The whole message is said.
    fn ending(&mut self, current: Box<Current>) {
        let replies = match self.config.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => current.accepted.len(),
        };
        self.expected
            .extend(std::iter::repeat_n(State::Eod, replies));
        self.since = self.now;
        self.stage = Stage::Ending(current);
    }

    /// The reply to a chunk that is not the last.
    pub(super) fn chunk_reply(&mut self, reply: PeerReply) {
        let good = match reply.code {
            200..=299 => true,
            400.. => false,
            _ => return self.wrong_reply(&reply),
        };
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            // What follows of the message would be read in vain; what is sent of it is answered.
            Stage::Content(mut current, _) | Stage::Ending(mut current) if !good => {
                current.settle(&Outcome::Reply(reply));
                self.dirty = true;
                self.stage = Stage::Draining(current);
            }
            other => self.stage = other,
        }
        if !matches!(self.stage, Stage::Draining(_)) {
            self.send_chunks();
        } else if self.expected.is_empty() {
            self.finish();
        }
    }

    pub(super) fn eod_reply(&mut self, reply: PeerReply) {
        if (300..400).contains(&reply.code) {
            return self.wrong_reply(&reply);
        }
        match &mut self.stage {
            Stage::Ending(current) => match self.config.protocol {
                Protocol::Smtp => current.settle(&Outcome::Reply(reply)),
                Protocol::Lmtp => {
                    if let Some(recipient) = current.accepted.get(current.ended).copied() {
                        current.decide(recipient, Outcome::Reply(reply));
                    }
                    current.ended += 1;
                }
            },
            Stage::Draining(_) => {}
            _ => return self.wrong_reply(&reply),
        }
        if self.expected.is_empty() {
            self.finish();
        }
    }

    /// The transaction is over and the connection goes on.
    fn finish(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Envelope(current) => {
                self.dirty = true;
                self.report(*current);
            }
            Stage::Ending(current) | Stage::Draining(current) => self.report(*current),
            other => self.stage = other,
        }
    }

    pub(super) fn report(&mut self, mut current: Current) {
        // Every path decides every recipient; if one did not, the message is tried again.
        let failure = Failure::temporary(
            FailureKind::Protocol,
            "the server gave no answer for this recipient",
        );
        current.settle(&Outcome::Error(failure));
        self.outputs.push_back(Output::Done(
            current.results.into_iter().flatten().collect(),
        ));
    }
}
